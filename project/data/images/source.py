"""A user's own images, in one folder per class or with a table of labels.

A listing is a table with the columns ``file``, ``target``, ``part`` (name of the split) and,
optionally, ``group``; and the class names, empty for regression.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Ge, Le

from project.core.arrays import Indices
from project.core.errors import UserError, nearest
from project.data.images.cache import decode_all
from project.data.images.decode import SUFFIXES, find_images, relative_name
from project.data.ratios import SPLITS
from project.data.source import Source
from project.data.tables.source import check_columns, read_table
from project.data.tables.values import TaskChoice, check_complete, to_groups, to_targets, to_texts

Listing = tuple[pd.DataFrame, tuple[str, ...]]
LABELS = "labels.csv"
# Accepted names of the official splits, in lower case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def images(
    root: str,
    image_size: Annotated[int, Ge(8), Le(1024)] = 64,
    channels: Literal[1, 3] = 3,
    task: TaskChoice = "auto",
    group_by: str | None = None,
    ignore: list[str] = [],  # noqa: B006 - never changed
) -> Source:
    """Reads a folder of images: PNG, JPEG, WebP, BMP or TIFF, of any size and pixel format.

    The folder holds one sub-folder per class; or folders ``train``, ``val`` and ``test`` laid out
    that way; or a file ``labels.csv`` with the columns ``file`` and ``label``, and optionally
    ``split``. Unreadable files are skipped and listed.

    Args:
        root: Path of the folder.
        image_size: Height and width in pixels to which every image is resized, 8 to 1024.
        channels: 1 for greyscale, 3 for RGB.
        task: Task for the labels of ``labels.csv``; ``auto`` regresses non-integer labels.
        group_by: Column of ``labels.csv``, or regular expression for the path of a file; images
            with the same value, first group or else match stay in one split.
        ignore: Names of classes to skip.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"data.root: {root}: there is no such folder: expected a folder of images")
    if (folder / LABELS).is_file():
        listing, classes = _list_by_labels(folder, task, group_by, ignore)
    else:
        listing, classes = _list_by_folders(folder, ignore)
    listing["name"] = [relative_name(file, folder) for file in listing["file"]]
    if group_by is not None and "group" not in listing:
        listing["group"] = _group_by_name(listing["name"].tolist(), group_by)
    return _read(listing, classes, (image_size, image_size, channels), f"data.root: {root}")


def _list_by_folders(folder: Path, ignore: Sequence[str]) -> Listing:
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
    labels, in_train = frame["label"].to_numpy(str), frame["part"] == "train"
    classes, frame["target"] = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        count = f"one class, '{classes[0]}'" if len(classes) else "no class folders"
        expected = f"expected one sub-folder of images per class, at least two, or {LABELS}"
        raise UserError(f"data.root: {folder}: {count}: {expected}")
    if len(missing := np.setdiff1d(labels, labels[in_train])):
        reason = f"class '{missing[0]}' is missing: expected images of every class in train"
        raise UserError(f"data.root: {official['train']}: {reason}")
    return frame, tuple(classes.tolist())


def _list_by_labels(
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
        check_complete(table["split"], "split", key)
        parts = table["split"].astype(str).str.strip().str.lower().map(PARTS)
        if (is_wrong := parts.isna().to_numpy()).any():
            row, expected = int(is_wrong.argmax()), f"expected {', '.join(SPLITS)}"
            raise UserError(f"{key}: row {row + 1}: split '{table['split'][row]}': {expected}")
        if "train" not in set(parts) or parts.nunique() < 2:
            raise UserError(f"{key}: column 'split': expected train, and test or val")
        frame["part"] = parts
    if group_by in table.columns:
        check_complete(table[group_by], str(group_by), key)
        frame["group"] = to_groups(table[group_by].to_numpy())
    return frame, classes


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
        reason = f"folders {others}: expected train, val and test alone, once each"
        raise UserError(f"data.root: {folder}: {reason}")
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


def _read(
    listing: pd.DataFrame, classes: tuple[str, ...], shape: tuple[int, ...], key: str
) -> Source:
    # A source keeps its official val, then its official test samples, at the end.
    listing = listing.sort_values("part", kind="stable", key=lambda part: part.map(SPLITS.index))
    rows, hashes, sizes, unreadable = decode_all(list(listing["file"]), shape)
    skipped = tuple((listing["name"].iloc[i], reason) for i, reason in unreadable.items())
    readable = listing.iloc[rows.indices]
    if readable.empty:
        name, reason = skipped[0]
        raise UserError(f"{key}: none of {len(listing)} images can be read ({name}: {reason})")
    for index, name in enumerate(classes):
        if not (readable["target"] == index).any():
            expected = "expected one or more, or data.ignore"
            raise UserError(f"{key}: no image of class '{name}' can be read: {expected}")
    return Source(
        inputs=rows,
        targets=readable["target"].to_numpy(),
        classes=classes,
        num_val=int((readable["part"] == "val").sum()),
        num_test=int((readable["part"] == "test").sum()),
        groups=readable["group"].to_numpy() if "group" in readable else None,
        hashes=hashes,
        names=tuple(readable["name"]),
        sizes=sizes,
        skipped=skipped,
    )


def _group_by_name(names: list[str], pattern: str) -> Indices:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        reason = f"not a regular expression ({error}): expected one such as 'patient(\\d+)'"
        raise UserError(f"data.group_by: {pattern}: {reason}") from None
    matches = [compiled.search(name) for name in names]
    groups = [match and match.group(1 if compiled.groups else 0) for match in matches]
    if None in groups:
        reason = f"does not match '{names[groups.index(None)]}'"
        expected = "expected a pattern that matches every file"
        raise UserError(f"data.group_by: {pattern}: {reason}: {expected}")
    return to_groups(np.array(groups))
