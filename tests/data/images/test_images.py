"""Folders of images: every layout becomes the same kind of source."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data.own_data import write_classes

from project.data.images.decode import decode_file
from project.data.images.source import images
from project.data.module import DataModule
from project.data.ratios import Splits
from project.data.splits import cut


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
        actual = {source.names[i].split("/")[0] for i in getattr(split, name)}
        assert actual == {name}
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


def test_non_integer_labels_are_regressed(folder: Path) -> None:
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


def test_unreadable_files_are_skipped_and_listed(folder: Path) -> None:
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


def test_official_splits_have_several_names(folder: Path) -> None:
    for part, count in (("Training", 8), ("VALID", 3), ("testing", 4)):
        write_classes(folder / "official" / part, count, seed=count)
    source = images(str(folder / "official"), image_size=8)
    assert (source.num_val, source.num_test, len(source.targets)) == (9, 12, 45)


def test_a_class_can_be_ignored(folder: Path) -> None:
    for file in sorted((folder / "green").iterdir())[2:]:  # too few to be cut
        file.unlink()
    assert images(str(folder), image_size=8, ignore=["green"]).classes == ("blue", "red")
    names = [
        f"{kind}/{kind} {i:02}.png,{kind}" for kind in ("red", "blue", "green") for i in (0, 1)
    ]
    (folder / "labels.csv").write_text("\n".join(["file,label", *names]))
    source = images(str(folder), image_size=8, ignore=["green"])
    assert (source.classes, len(source.targets)) == (("blue", "red"), 4)


def test_pipes_dead_links_and_odd_names_are_no_obstacle(folder: Path) -> None:
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


def test_links_inside_the_folder_are_files_like_others(folder: Path) -> None:
    (folder / "red" / "link.png").symlink_to(folder / "red" / "red 00.png")
    source = images(str(folder), image_size=8)
    assert len(source.targets) == 37
    data = DataModule(lambda: source, drop_duplicates=True)
    assert sum(data.duplicates.values()) == 0
