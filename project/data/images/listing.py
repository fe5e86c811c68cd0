"""The image files of a folder with their labels, before any of them is decoded.

A listing is a table with the columns ``file``, ``target``, ``part`` (name of the split) and,
optionally, ``group``; and the class names, empty for regression.
"""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from project.core.errors import UserError, nearest
from project.data.images.decode import SUFFIXES
from project.data.ratios import SPLITS
from project.data.tables.read import check_columns, read_table
from project.data.tables.values import TaskChoice, check_complete, to_groups, to_targets, to_texts

Listing = tuple[pd.DataFrame, tuple[str, ...]]
LABELS = "labels.csv"
# Accepted names of the official splits, in lower case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def list_by_folders(folder: Path, ignore: Sequence[str]) -> Listing:
    """Lists images by class folders, below folders of official splits if there are any."""
    official = _official_folders(folder)
    rows, names = list[tuple[Path, str, str]](), set[str]()
    for part, place in (official or {"train": folder}).items():
        if stray := find_images(place, place, is_deep=False):
            raise UserError(f"data.root: {stray[0]}: expected images inside class folders only")
        class_folders = _visible_folders(place)
        if official and not class_folders:
            raise UserError(f"data.root: {place}: is empty: expected one sub-folder per class")
        for each in class_folders:
            name = relative_name(each, place)
            names.add(name)
            if name in ignore:
                continue
            images = find_images(each, folder)
            if not images:
                raise UserError(f"data.root: {each}: no images: expected {', '.join(SUFFIXES)}")
            rows += [(file, name, part) for file in images]
    _check_ignored(ignore, names)
    frame = pd.DataFrame(rows, columns=["file", "label", "part"])
    labels, in_train = frame["label"].tolist(), frame["label"][frame["part"] == "train"]
    classes, frame["target"] = np.unique(np.array(labels, dtype=str), return_inverse=True)
    if len(classes) < 2:
        count = f"one class, '{classes[0]}'" if labels else "no class folders"
        raise UserError(
            f"data.root: {folder}: {count}: expected one sub-folder of images per class, "
            f"at least two, or {LABELS}"
        )
    if missing := set(labels) - set(in_train):
        raise UserError(
            f"data.root: {official['train']}: class '{min(missing)}' is missing: "
            "expected images of every class in train"
        )
    return frame, tuple(classes.tolist())


def list_by_labels(
    folder: Path, task: TaskChoice, group_by: str | None, ignore: Sequence[str]
) -> Listing:
    """Lists images by ``labels.csv``; ``group_by`` is used if it names one of its columns."""
    path = folder / LABELS
    key = f"data.root: {path}"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{key}: a link out of the folder: expected a file inside it")
    table = read_table(str(path), "data.root")
    check_columns(table, ["file", "label"], key)
    for name in ("file", "label"):
        check_complete(table[name], name, key)
    labels = to_texts(table["label"])
    _check_ignored(ignore, set(labels))
    table = table[[label not in ignore for label in labels]].reset_index(drop=True)
    if table.empty:
        raise UserError(f"data.ignore: {ignore}: no image is left: expected fewer classes")
    files = [Path(os.path.normpath(folder / str(name))) for name in table["file"]]
    _check_files(files, folder, key)
    if task == "auto":  # whole numbers are class names here, however many there are
        is_fraction = table["label"].dtype.kind == "f" and (table["label"] % 1 != 0).any()
        task = "regression" if is_fraction else "classification"
    targets, classes = to_targets(table["label"], task, key)
    frame = pd.DataFrame({"file": files, "target": targets, "part": "train"})
    if "split" in table.columns:
        frame["part"] = _read_parts(table["split"], key)
    if group_by in table.columns:
        check_complete(table[group_by], str(group_by), key)
        frame["group"] = to_groups(table[group_by].to_numpy())
    return frame, classes


def find_images(
    place: Path, root: Path, is_deep: bool = True, key: str = "data.root"
) -> list[Path]:
    """Finds the images of a folder and, if ``is_deep``, its sub-folders, sorted by path.

    Raises:
        UserError: A symlink leaves the root, or leads to another folder; ``key`` precedes it.
    """
    images, inside = list[Path](), root.resolve()
    for parent, folders, files in os.walk(place):
        for name in ("", *folders, *files):  # "" is the folder itself
            path = Path(parent) / name
            if not path.is_symlink():
                continue
            end = os.path.realpath(path)
            if not Path(end).is_relative_to(inside):
                reason = f"a link out of the folder, to {end}: expected files inside it"
                raise UserError(f"{key}: {path}: {reason}")
            if name in folders:
                reason = f"a link to a folder, {end}: expected a copy of that folder"
                raise UserError(f"{key}: {path}: {reason}")
        images += [
            Path(parent) / name
            for name in files
            if not name.startswith(".") and name.lower().endswith(SUFFIXES)
        ]
        if not is_deep:
            break
    return sorted(images)


def relative_name(file: Path, folder: Path) -> str:
    """A file's path in a folder; bytes that are not UTF-8 are escaped."""
    return os.fsencode(file.relative_to(folder).as_posix()).decode(errors="backslashreplace")


def _visible_folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]


def _official_folders(folder: Path) -> dict[str, Path]:
    """The folders of official splits by the split's name; empty for class folders."""
    visible = _visible_folders(folder)
    roots = {PARTS[name]: path for path in visible if (name := path.name.lower()) in PARTS}
    if "train" not in roots or len(roots) < 2:  # "train" alone may be a class, beside "car"
        return {}
    if len(roots) != len(visible):
        others = ", ".join(f"'{path.name}'" for path in visible)
        expected = "expected train, val and test alone, once each"
        raise UserError(f"data.root: {folder}: folders {others}: {expected}")
    return {part: roots[part] for part in SPLITS if part in roots}


def _check_ignored(ignore: Sequence[str], names: Collection[str]) -> None:
    for name in ignore:
        if name not in names:
            raise UserError(f"data.ignore: {name}: there is no such class: {nearest(name, names)}")


def _check_files(files: Sequence[Path], folder: Path, key: str) -> None:
    inside = folder.resolve()
    for file, count in Counter(files).items():
        if not Path(os.path.realpath(file)).is_relative_to(inside):
            raise UserError(f"{key}: '{file}' is outside the folder: expected files inside it")
        if not file.is_file():
            raise UserError(f"{key}: there is no file '{file}': paths must start at {folder}")
        if count > 1:
            name = relative_name(file, folder)
            raise UserError(f"{key}: file '{name}' is listed twice: expected one row per file")


def _read_parts(column: pd.Series, key: str) -> pd.Series:
    """The official split of each row of ``labels.csv``."""
    check_complete(column, "split", key)
    parts = column.astype(str).str.strip().str.lower().map(PARTS)
    if parts.isna().any():
        row = int(parts.isna().argmax())
        expected = f"expected {', '.join(SPLITS)}"
        raise UserError(f"{key}: row {row + 1}: split '{column.iloc[row]}': {expected}")
    if "train" not in set(parts) or parts.nunique() < 2:
        raise UserError(f"{key}: column 'split': expected train, and test or val")
    return parts
