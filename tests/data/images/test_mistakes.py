"""Mistakes in folders of images are reported in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from data.own_data import KINDS, write_classes

from project.core.errors import UserError
from project.data.images.source import images
from project.data.ratios import Splits
from project.data.splits import cut


def labels(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_text(text)


def empty_files(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")


def only_red(folder: Path) -> None:
    for name in ("green", "blue"):
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()


def clear(folder: Path, name: str) -> None:
    for file in (folder / name).iterdir():
        file.unlink()


def empty_class(folder: Path) -> None:
    for file in (folder / "green").iterdir():
        file.write_bytes(b"")


def link_out(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(b"x")
    (folder / "red" / "link.png").symlink_to(folder.parent / "secret.png")


def link_out_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "red" / "more").symlink_to(folder.parent / "elsewhere")


def link_class(folder: Path) -> None:
    write_classes(folder.parent / "others", 3)
    (folder / "more").symlink_to(folder.parent / "others" / "red")


def official_without(folder: Path) -> None:
    for part in ("train", "test"):
        write_classes(folder / part, 3)
    for name in KINDS:
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
    for file in (folder / "train" / "red").iterdir():
        file.unlink()
    (folder / "train" / "red").rmdir()


def official_and(folder: Path, name: str) -> None:
    for part in ("Train", "Test", name):
        write_classes(folder / "official" / part, 3)


def official_empty(folder: Path) -> None:
    write_classes(folder / "official" / "train", 3)
    (folder / "official" / "test").mkdir()


def link_inside(folder: Path) -> None:
    (folder / "red" / "more").symlink_to(folder / "green")


def link_in_a_circle(folder: Path) -> None:
    (folder / "red" / "self.png").symlink_to(folder / "red" / "self.png")
    (folder / "red" / "red 00.png").unlink()  # one is listed, and one is too few
    few(folder)


def torn_groups(folder: Path) -> None:
    for part in ("train", "test"):
        write_classes(folder / "official" / part, 6)


def few(folder: Path) -> None:
    for file in sorted((folder / "green").iterdir())[2:]:
        file.unlink()


BAD: dict[str, tuple[Callable[[Path], object], dict[str, object], str]] = {
    "no such folder": (lambda f: None, {"root": "/nowhere"}, "data.root: /nowhere: there is no"),
    "a file": (lambda f: labels(f, "x"), {"root": "{}/labels.csv"}, "there is no such folder"),
    "an empty folder": (lambda f: (f / "none").mkdir(), {"root": "{}/none"}, "no class folders"),
    "one class": (only_red, {}, "one class, 'red': expected one sub-folder"),
    "an empty class": (lambda f: clear(f, "green"), {}, "/green: no images: expected .png"),
    "no readable file": (empty_files, {}, "none of 36 images can be read (blue/"),
    "no readable file of a class": (empty_class, {}, "no image of class 'green' can be read"),
    "a stray image": (
        lambda f: (f / "red" / "red 00.png").rename(f / "red 00.png"),
        {},
        "/red 00.png: expected images inside class folders only",
    ),
    "a link to a file elsewhere": (link_out, {}, "/red/link.png: a link out of the folder, to "),
    "a link to a folder elsewhere": (link_out_folder, {}, "/red/more: a link out of the folder"),
    "a class that is a link": (link_class, {}, "/more: a link out of the folder, to "),
    "a class missing in train": (official_without, {}, "/train: class 'red' is missing: exp"),
    "a class of two": (few, {}, "data.splits.test: class 'green' has 2 samples: expected at leas"),
    "no regular expression": (lambda f: None, {"group_by": "("}, "data.group_by: (: not a reg"),
    "groups that miss files": (
        lambda f: None, {"group_by": r"red (\d+)"}, "does not match 'blue/blue 00.png'"
    ),
    "groups in two official splits": (
        torn_groups,
        {"root": "{}/official", "group_by": r"(\d+)\.png"},
        "data.group_by: 'train/blue/blue 00.png' is in train, others of its group are in test",
    ),
    "a group that may be missing": (
        lambda f: None, {"group_by": "red (1)?|blue|green"}, "does not match 'blue/blue 00.png'"
    ),
    "splits and another folder": (
        lambda f: official_and(f, "extra"),
        {"root": "{}/official"},
        "folders 'Test', 'Train', 'extra': expected train, val and test alone, once each",
    ),
    "a split twice": (lambda f: official_and(f, "testing"), {"root": "{}/official"}, "once each"),
    "an empty split": (official_empty, {"root": "{}/official"}, "/test: is empty: expected one"),
    "a link to another class": (link_inside, {}, "/red/more: a link to a folder, "),
    "links in a circle": (link_in_a_circle, {}, "class 'green' has 2 samples"),
    "an unknown class to ignore": (
        lambda f: None, {"ignore": ["rod"]}, "data.ignore: rod: there is no such class: did you"
    ),
    "all but one class ignored": (
        lambda f: None, {"ignore": ["red", "blue"]}, "one class, 'green': expected"
    ),
    "one group": (lambda f: None, {"group_by": "png"}, "one group can't be divided"),
    "labels without columns": (lambda f: labels(f, "a,b\n1,2\n"), {}, "there is no column 'file'"),
    "labels without labels": (lambda f: labels(f, "file,lable\nx,2\n"), {}, "did you mean 'lable'"),
    "an empty table of labels": (lambda f: labels(f, ""), {}, "labels.csv: the file is empty"),
    "a label missing": (
        lambda f: labels(f, "file,label\nred/red 00.png,1\nred/red 01.png,\n"),
        {},
        "row 2 has no label",
    ),
    "a file named that isn't there": (
        lambda f: labels(f, "file,label\nred/none.png,1\nred/red 01.png,2\n"),
        {},
        "/red/none.png': paths must",
    ),
    "a file named twice": (
        lambda f: labels(f, "file,label\nred/red 01.png,1\nred/red 01.png,2\n"),
        {},
        "file 'red/red 01.png' is listed twice",
    ),
    "a file named in two ways": (
        lambda f: labels(f, "file,label\nred/red 01.png,1\nblue/../red/red 01.png,2\n"),
        {},
        "file 'red/red 01.png' is listed twice",
    ),
    "a split missing": (
        lambda f: labels(f, "file,label,split\nred/red 00.png,1,train\nred/red 01.png,2,\n"),
        {},
        "row 2 has no split",
    ),
    "a file out of the folder": (
        lambda f: labels(f, "file,label\n../x.png,1\nred/red 01.png,2\n"),
        {},
        "is outside the folder",
    ),
    "one label": (
        lambda f: labels(f, "file,label\nred/red 00.png,1\nred/red 01.png,1\n"),
        {},
        "column 'label' is constant",
    ),
    "an unknown split": (
        lambda f: labels(f, "file,label,split\nred/red 00.png,1,train\nred/red 01.png,2,x\n"),
        {},
        "split 'x': expected train, val, test",
    ),
    "labels with semicolons": (
        lambda f: labels(f, "file;label\nred/red 00.png;1\n"), {}, "separated by semicolons"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_reported_in_one_line(name: str, folder: Path) -> None:
    spoil, arguments, message = BAD[name]
    spoil(folder)
    keywords = {"root": str(folder), "image_size": 8, **arguments}
    keywords["root"] = str(keywords["root"]).replace("{}", str(folder))
    with pytest.raises(UserError) as caught:
        cut(images(**keywords), Splits())  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
