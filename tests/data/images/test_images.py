"""Folders of pictures: every layout, the cache behind them, and what users get wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import configure
from data.own_data import KINDS, write_classes
from PIL import Image

import project
from project.config.build import build_data, read_samples
from project.core.errors import UserError
from project.data import samples
from project.data.images import cache
from project.data.images.decode import decode_file
from project.data.images.source import images
from project.data.module import DataModule
from project.data.ratios import Splits
from project.data.source import Rows
from project.data.splits import cut
from project.evaluate import evaluate
from project.serving.export import export
from project.train import train


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pictures")


def test_sub_folders_are_classes_and_pixels_are_those_of_the_files(folder: Path) -> None:
    source = images(str(folder), image_size=16)
    assert source.classes == ("blue", "green", "red")
    assert np.bincount(source.targets).tolist() == [12, 12, 12]
    assert source.inputs.shape == (36, 16, 16, 3)
    for index in (0, 20, 35):
        expected, size = decode_file(folder / source.names[index], (16, 16, 3))
        np.testing.assert_array_equal(source.inputs[index], expected)
        assert source.sizes is not None
        assert source.sizes[index].tolist() == list(size)
        assert source.names[index].startswith(source.classes[source.targets[index]])
    assert images(str(folder), image_size=8, channels=1).inputs.shape == (36, 8, 8, 1)


def test_official_folders_stay_as_they_are(folder: Path, tmp_path: Path) -> None:
    for part, count in (("train", 8), ("val", 3), ("test", 4)):
        write_classes(tmp_path / "official" / part, count, seed=count)
    source = images(str(tmp_path / "official"), image_size=8)
    split = cut(source, Splits())
    for name in ("train", "val", "test"):
        found = {source.names[i].split("/")[0] for i in getattr(split, name)}
        assert found == {name}
    assert (len(split.train), len(split.val), len(split.test)) == (24, 9, 12)


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_split_without_a_folder_is_drawn_from_train(missing: str, tmp_path: Path) -> None:
    for part in {"train", "val", "test"} - {missing}:
        write_classes(tmp_path / part, 20, seed=len(part))
    source = images(str(tmp_path), image_size=8)
    split = cut(source, Splits(train=0.6, val=0.2, test=0.2))
    other = "test" if missing == "val" else "val"
    assert len(getattr(split, other)) == 60
    assert len(getattr(split, missing)) == 15  # a quarter of train's 60
    assert {source.names[i].split("/")[0] for i in getattr(split, missing)} == {"train"}


def test_a_table_of_labels_names_files_classes_splits_and_groups(folder: Path) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    frame = pd.DataFrame({"file": files, "label": [f"kind {i % 2}" for i in range(36)]})
    frame["patient"] = [i // 3 for i in range(36)]
    frame.to_csv(folder / "labels.csv", index=False)
    source = images(str(folder), image_size=8, group_by="patient")
    assert source.classes == ("kind 0", "kind 1")
    assert source.groups is not None
    assert len(np.unique(source.groups)) == 12
    frame["split"] = ["train"] * 20 + ["test"] * 10 + ["val"] * 6
    frame.to_csv(folder / "labels.csv", index=False)
    source = images(str(folder), image_size=8)
    split = cut(source, Splits())
    assert sorted(source.names[i] for i in split.test) == files[20:30]
    assert sorted(source.names[i] for i in split.val) == files[30:]


def test_labels_that_are_fractions_are_values_to_regress(folder: Path) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    pd.DataFrame({"file": files, "label": np.arange(36) / 7}).to_csv(folder / "labels.csv")
    source = images(str(folder), image_size=8)
    assert source.task == "regression"
    np.testing.assert_allclose(np.sort(source.targets), np.arange(36) / 7, rtol=1e-6)


def test_groups_by_name_stay_in_one_split_and_classes_in_proportion(folder: Path) -> None:
    source = images(str(folder), image_size=8, group_by=r"(\d)\.png")  # the last digit
    split = cut(source, Splits(train=0.6, val=0.2, test=0.2))
    groups = [
        {source.names[i][-5] for i in getattr(split, part)} for part in ("train", "val", "test")
    ]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]
    for part in (split.train, split.val, split.test):
        assert set(source.targets[part]) == {0, 1, 2}
    assert abs(len(split.test) / 36 - 0.2) < 0.1


def test_unreadable_files_are_left_out_and_listed(folder: Path) -> None:
    (folder / "red" / "red 00.png").write_bytes(b"")
    content = (folder / "green" / "green 01.png").read_bytes()
    (folder / "green" / "green 01.png").write_bytes(content[:200])
    (folder / "red" / "notes.txt").write_text("not an image")
    (folder / "red" / ".hidden.png").write_bytes(content)
    source = images(str(folder), image_size=8)
    assert len(source.targets) == 34
    assert dict(source.skipped) == {
        "red/red 00.png": "the file is empty",
        "green/green 01.png": "damaged (image file is truncated)",
    }
    assert "red/red 00.png" not in source.names
    for index in range(34):
        expected, _ = decode_file(folder / source.names[index], (8, 8, 3))
        np.testing.assert_array_equal(source.inputs[index], expected)


def test_names_with_blanks_quotes_and_other_letters(folder: Path) -> None:
    odd = folder / "blue" / "a \"very\" odd, näme; 名前 'x'.png"
    (folder / "blue" / "blue 00.png").rename(odd)
    (folder / "red").rename(folder / "röt & ré'd")
    source = images(str(folder), image_size=8)
    assert odd.relative_to(folder).as_posix() in source.names
    assert source.classes == ("blue", "green", "röt & ré'd")


def test_files_are_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = images(str(folder), image_size=8)

    def fail(*arguments: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(cache.decode, "decode_file", fail)
        again = images(str(folder), image_size=8)
        np.testing.assert_array_equal(first.inputs[:], again.inputs[:])
        for file in folder.rglob("*.png"):  # touched or moved, with the same content
            os.utime(file, (1, 1))
        images(str(folder), image_size=8)
        folder.rename(folder.parent / "moved")
        images(str(folder.parent / "moved"), image_size=8)
        with pytest.raises(AssertionError, match="decoded again"):
            images(str(folder.parent / "moved"), image_size=9)


def test_a_changed_file_is_seen_whatever_its_date_says(folder: Path) -> None:
    file = folder / "red" / "red 00.png"
    before, status = images(str(folder), image_size=8), file.stat()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = images(str(folder), image_size=8)
    changed = before.names.index("red/red 00.png")
    assert (after.inputs[changed] == 0).all()
    assert DataModule(lambda: before).fingerprint != DataModule(lambda: after).fingerprint


BUILD = """
import sys
from pathlib import Path
from project.data.images import cache
from project.data.images.source import images
cache.FOLDER = Path(sys.argv[2])
print(images(sys.argv[1], image_size=96).inputs[:].sum())
"""


def build(folder: Path, where: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder), str(where)],
        cwd=project.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_may_read_a_folder_at_once_and_one_may_be_killed(
    tmp_path: Path, own_cache: Path
) -> None:
    folder = write_classes(tmp_path / "many", 1500, suffix=".bmp")
    with build(folder, own_cache) as killed:
        while not list(own_cache.glob("*.partial")):
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert not list(own_cache.glob("*.json"))
    with build(folder, own_cache) as first, build(folder, own_cache) as second:
        sums = {first.communicate(timeout=120)[0], second.communicate(timeout=120)[0]}
    assert first.returncode == second.returncode == 0
    assert len(sums) == 1
    assert len(list(own_cache.glob("*.npy"))) == 1
    assert not list(own_cache.glob("*.partial"))


def test_a_large_folder_stays_in_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = images(str(folder), image_size=8)
    in_memory = DataModule(lambda: source, batch_size=4)
    monkeypatch.setattr(samples, "IN_MEMORY", 100)
    in_file = DataModule(lambda: source, batch_size=4)
    assert isinstance(in_file.train.inputs, Rows)
    assert isinstance(in_file.train_subset.inputs, Rows)
    assert in_file.spec == in_memory.spec
    assert in_file.fingerprint == in_memory.fingerprint
    for ours, theirs in zip(in_file.train_dataloader(), in_memory.train_dataloader(), strict=True):
        np.testing.assert_array_equal(ours[0].numpy(), theirs[0].numpy())
    np.testing.assert_array_equal(in_file.open_test().inputs[:], in_memory.open_test().inputs[:])


@pytest.mark.parametrize("model", ["cnn", "autoencoder"])
def test_what_a_run_leaves_behind_is_the_same_for_a_large_folder(
    model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"model={model}", "data=images", f"data.root='{folder}'", "data.image_size=16"]
    config = configure(*overrides, "trainer.max_epochs=1", "augment=none")
    in_memory = train(config)
    monkeypatch.setattr(samples, "IN_MEMORY", 0)
    read_samples.cache_clear()
    assert isinstance(build_data(config).train.inputs, Rows)
    in_file = train(config)
    assert in_file.metrics == in_memory.metrics
    if model == "cnn":
        found, expected = (evaluate(run.run_id, robustness=True) for run in (in_file, in_memory))
        assert found.curves == expected.curves
    found, expected = (
        export(run.run_id, "pt2", str(tmp_path / run.run_id)) for run in (in_file, in_memory)
    )
    cards = [(each.folder / "card.md").read_text() for each in (found, expected)]
    tables = [card.split("## Metrics")[1].split("## ")[0] for card in cards]
    assert tables[0] == tables[1]


FLAT = """
import sys
from pathlib import Path
import numpy as np
from project.data import module, samples
from project.data.images import cache
from project.data.images.source import images
cache.FOLDER, samples.IN_MEMORY = Path(sys.argv[2]), 0

def anonymous():  # bytes that can't be dropped and read again from a file
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

before = anonymous()
data = module.DataModule(lambda: images(sys.argv[1], image_size=512), batch_size=16)
for batch in data.train_dataloader():
    pass
print(anonymous() - before, data.train.inputs.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux")
@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path, own_cache: Path) -> None:
    folder = write_classes(tmp_path / "many", 300)
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(folder), str(own_cache)],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    grown, whole = map(int, done.stdout.split())
    assert whole > 400e6
    assert grown < whole / 3


def test_rows_are_pickled_as_the_name_of_their_file(tmp_path: Path) -> None:
    import pickle

    array = np.arange(600_000).reshape(1000, 600)
    np.save(tmp_path / "a.npy", array)
    rows = Rows(tmp_path / "a.npy", np.arange(0, 1000, 2))
    content = pickle.dumps(rows)
    assert len(content) < 20_000
    np.testing.assert_array_equal(pickle.loads(content)[3:5], array[[6, 8]])
    np.testing.assert_array_equal(rows.select(np.array([1, 4]))[:], array[[2, 8]])
    assert (rows.shape, rows.nbytes, len(rows)) == ((500, 600), 500 * 600 * 8, 500)


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
        "/red/none.png': expected paths",
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
def test_a_mistake_is_answered_in_one_line(name: str, folder: Path) -> None:
    spoil, arguments, message = BAD[name]
    spoil(folder)
    given = {"root": str(folder), "image_size": 8, **arguments}
    given["root"] = str(given["root"]).replace("{}", str(folder))
    with pytest.raises(UserError) as caught:
        cut(images(**given), Splits())  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_splits_are_known_by_any_of_their_names(folder: Path) -> None:
    for part, count in (("Training", 8), ("VALID", 3), ("testing", 4)):
        write_classes(folder / "official" / part, count, seed=count)
    source = images(str(folder / "official"), image_size=8)
    assert (source.num_val, source.num_test, len(source.targets)) == (9, 12, 45)


def test_a_class_is_left_out(folder: Path) -> None:
    few(folder)
    assert images(str(folder), image_size=8, ignore=["green"]).classes == ("blue", "red")
    names = [
        f"{kind}/{kind} {i:02}.png,{kind}" for kind in ("red", "blue", "green") for i in (0, 1)
    ]
    labels(folder, "\n".join(["file,label", *names]))
    source = images(str(folder), image_size=8, ignore=["green"])
    assert (source.classes, len(source.targets)) == (("blue", "red"), 4)


def test_what_is_no_file_or_has_an_odd_name_ends_nothing(folder: Path) -> None:
    os.mkfifo(folder / "red" / "pipe.png")
    (folder / "red" / "nowhere.png").symlink_to(folder / "none.png")
    (folder / "red" / "self.png").symlink_to(folder / "red" / "self.png")
    content = (folder / "red" / "red 00.png").read_bytes()
    (folder / "red" / os.fsdecode(b"caf\xe9\n.png")).write_bytes(content)
    source = images(str(folder), image_size=8)
    assert "red/caf\\xe9\n.png" in source.names
    assert dict(source.skipped) == {
        "red/nowhere.png": "No such file or directory",
        "red/pipe.png": "a pipe or a device: expected a file",
        "red/self.png": "Too many levels of symbolic links",
    }
    json.dumps(source.names).encode()


@pytest.mark.parametrize("name", ["*.npy", "*.json"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: os.truncate(file, 200)])
def test_a_damaged_cache_is_made_anew(
    name: str, spoil: Callable[[Path], None], folder: Path, own_cache: Path
) -> None:
    made = images(str(folder), image_size=8)
    pixels, hashes = made.inputs[:], made.hashes
    (file,) = own_cache.glob(name)
    spoil(file)
    found = images(str(folder), image_size=8)
    np.testing.assert_array_equal(found.inputs[:], pixels)
    np.testing.assert_array_equal(found.hashes, hashes)  # type: ignore[arg-type]


def test_links_inside_the_folder_are_files_like_others(folder: Path) -> None:
    (folder / "red" / "link.png").symlink_to(folder / "red" / "red 00.png")
    source = images(str(folder), image_size=8)
    assert len(source.targets) == 37
    data = DataModule(lambda: source, drop_duplicates=True)
    assert sum(data.duplicates.values()) == 0
