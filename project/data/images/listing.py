"""The image files of a folder with their labels, before any of them is decoded."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from project.core.arrays import Array, Indices
from project.core.errors import UserError, nearest
from project.data.images.decode import SUFFIXES
from project.data.ratios import SPLITS
from project.data.tables.read import check_columns, read_table
from project.data.tables.targets import TaskChoice, to_groups, to_targets
from project.data.tables.values import check_complete, to_texts

LABELS = "labels.csv"
# Accepted names of the official splits, in lower case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """Image files and their labels.

    Attributes:
        files: Paths in the order of the samples.
        targets: (N,) class indices or values.
        classes: Class names; empty for values.
        parts: Official split of each file; empty if there is none.
        groups: (N,) group indices from ``labels.csv``; None without them.
    """

    files: list[Path]
    targets: Array
    classes: tuple[str, ...]
    parts: list[str] = field(default_factory=list)
    groups: Indices | None = None


def list_by_folders(folder: Path, ignore: Sequence[str]) -> Listing:
    """Lists images by class folders, below folders of official splits if there are any."""
    roots = _official_folders(folder) or {"": folder}
    files, labels, parts, names = list[Path](), list[str](), list[str](), set[str]()
    for part, place in roots.items():
        if stray := find_images(place, place, is_deep=False):
            raise UserError(f"data.root: {stray[0]}: expected images inside class folders only")
        class_folders = _visible_folders(place)
        if part and not class_folders:
            raise UserError(f"data.root: {place}: is empty: expected one sub-folder per class")
        for each in class_folders:
            name = relative_name(each, place)
            names.add(name)
            if name in ignore:
                continue
            images = find_images(each, folder)
            if not images:
                raise UserError(f"data.root: {each}: no images: expected {', '.join(SUFFIXES)}")
            files += images
            labels += [name] * len(images)
            parts += [part] * len(images)
    _check_ignored(ignore, names)
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        count = f"one class, '{classes[0]}'" if classes else "no class folders"
        raise UserError(
            f"data.root: {folder}: {count}: expected one sub-folder of images per class, at least "
            f"two, or {LABELS}"
        )
    if "train" in roots:
        in_train = {name for name, part in zip(labels, parts, strict=True) if part == "train"}
        if missing := set(classes) - in_train:
            raise UserError(
                f"data.root: {roots['train']}: class '{min(missing)}' is missing: expected images "
                "of every class in train"
            )
    targets = np.array([classes.index(label) for label in labels], dtype=np.int64)
    return Listing(files, targets, classes, parts if "train" in roots else [])


def list_by_labels(
    folder: Path, task: TaskChoice, group_by: str | None, ignore: Sequence[str]
) -> Listing:
    """Lists images by ``labels.csv``; ``group_by`` is used if it names one of its columns."""
    path = folder / LABELS
    key = f"data.root: {path}"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{key}: a link out of the folder: expected a file inside it")
    frame = read_table(str(path), "data.root")
    check_columns(frame, ["file", "label"], key)
    for name in ("file", "label"):
        check_complete(frame[name], name, key)
    labels = to_texts(frame["label"])
    _check_ignored(ignore, set(labels))
    frame = frame[[label not in ignore for label in labels]].reset_index(drop=True)
    if frame.empty:
        raise UserError(f"data.ignore: {ignore}: no image is left: expected fewer classes")
    files = [Path(os.path.normpath(folder / str(name))) for name in frame["file"]]
    _check_files(files, folder, key)
    # Whole numbers are class names here, however many there are.
    is_fraction = frame["label"].dtype.kind == "f" and bool((frame["label"] % 1 != 0).any())
    if task == "auto":
        task = "regression" if is_fraction else "classification"
    targets, classes = to_targets(frame["label"], task, key)
    parts = _read_parts(frame["split"], key) if "split" in frame.columns else []
    groups = None
    if group_by is not None and group_by in frame.columns:
        check_complete(frame[group_by], group_by, key)
        groups = to_groups(frame[group_by].to_numpy())
    return Listing(files, targets, classes, parts, groups)


def find_images(
    place: Path, root: Path, is_deep: bool = True, key: str = "data.root"
) -> list[Path]:
    """Finds the images of a folder, sorted by path.

    Args:
        place: Folder to search.
        root: Folder that no symlink may leave.
        is_deep: Whether to search sub-folders as well.
        key: Config key, for the error message.

    Raises:
        UserError: A symlink leaves the root, or leads to another folder.
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
        images += [Path(parent) / name for name in files if _is_image(name)]
        if not is_deep:
            break
    return sorted(images)


def relative_name(file: Path, folder: Path) -> str:
    """A file's path in a folder; bytes that are not UTF-8 are escaped."""
    return os.fsencode(file.relative_to(folder).as_posix()).decode(errors="backslashreplace")


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


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
        raise UserError(
            f"data.root: {folder}: folders {others}: expected train, val and test alone, once each"
        )
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


def _read_parts(column: pd.Series, key: str) -> list[str]:
    """The official split of each row of ``labels.csv``."""
    check_complete(column, "split", key)
    parts = []
    for row, text in enumerate(column.astype(str), 1):
        part = PARTS.get(text.strip().lower())
        if part is None:
            raise UserError(f"{key}: row {row}: split '{text}': expected {', '.join(SPLITS)}")
        parts.append(part)
    if set(parts) == {"train"} or "train" not in parts:
        raise UserError(f"{key}: column 'split': expected train, and test or val")
    return parts
