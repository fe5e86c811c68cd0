"""Pictures of the user's own, in folders by class or with a table of labels."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from project.data.cache import decode_all
from project.data.decode import SUFFIXES
from project.data.source import Source
from project.data.tabular import TaskChoice, check_columns, read_table, to_groups, to_targets
from project.errors import UserError
from project.types import Array

LABELS = "labels.csv"
PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
ORDER = ("train", "val", "test")


@dataclass
class Listing:
    """Image files and what is known of them before they are read.

    Attributes:
        files: in the order of the samples.
        targets: (N,) class indices or values.
        classes: names; empty for values.
        parts: official split of each; empty where there is none.
        groups: (N,) as ``labels.csv`` says; None if it doesn't.
    """

    files: list[Path]
    targets: Array
    classes: tuple[str, ...]
    parts: list[str] = field(default_factory=list)
    groups: Array | None = None


def images(
    root: str,
    image_size: Annotated[int, Field(ge=8, le=1024)] = 64,
    channels: Literal[1, 3] = 3,
    task: TaskChoice = "auto",
    group_by: str | None = None,
) -> Source:
    """Reads a folder of pictures: PNG, JPEG, WebP, BMP, TIFF, of any size and kind of pixel.

    The folder holds one sub-folder a class; or folders ``train``, ``val`` and ``test`` of such; or
    a file ``labels.csv`` with the columns ``file`` and ``label`` (and ``split``, if there is one).
    Files that can't be read are left out and listed.

    Args:
        root: the folder.
        image_size: height and width in pixels to which each picture is resized.
        channels: 1 for grey, 3 for RGB.
        task: what the labels of ``labels.csv`` are; ``auto`` takes fractions for values to regress.
        group_by: pictures of one group stay in one split: a regular expression whose first group,
            or whole match, in the file's path names it; or a column of ``labels.csv``.

    Raises:
        UserError: names the folder or file and what was expected.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"data.root: {root}: there is no such folder: expected one of pictures")
    if (folder / LABELS).is_file():
        listing = _list_by_labels(folder, task, group_by)
    else:
        listing = _list_by_folders(folder)
    names = [file.relative_to(folder).as_posix() for file in listing.files]
    if group_by is not None and listing.groups is None:
        listing.groups = _group_by_name(names, group_by)
    return _read(folder, listing, names, image_size, channels)


def _read(
    folder: Path, listing: Listing, names: list[str], image_size: int, channels: int
) -> Source:
    # Official val, then official test, are at the end.
    parts = np.array([ORDER.index(part) for part in listing.parts] or [0] * len(names))
    order = np.argsort(parts, kind="stable")
    decoded = decode_all([listing.files[i] for i in order], (image_size, image_size, channels))
    unreadable = tuple((names[order[i]], reason) for i, reason in decoded.unreadable.items())
    kept = order[decoded.readable]
    if not len(kept):
        name, reason = unreadable[0]
        raise UserError(
            f"data.root: {folder}: none of {len(names)} pictures can be read ({name}: {reason})"
        )
    for index, name in enumerate(listing.classes):
        if not (listing.targets[kept] == index).any():
            raise UserError(
                f"data.root: {folder}: no picture of class '{name}' can be read: expected some"
            )
    return Source(
        inputs=decoded.rows,
        targets=listing.targets[kept],
        classes=listing.classes,
        num_val=int((parts[kept] == 1).sum()),
        num_test=int((parts[kept] == 2).sum()),
        groups=None if listing.groups is None else listing.groups[kept],
        hashes=decoded.hashes,
        names=tuple(names[i] for i in kept),
        sizes=decoded.sizes,
        left_out=unreadable,
    )


def _list_by_folders(folder: Path) -> Listing:
    roots = _official_folders(folder) or {"": folder}
    files, labels, parts = [], [], []
    for part, place in roots.items():
        if stray := [path for path in find_pictures(place, place, deep=False) if path.is_file()]:
            raise UserError(
                f"data.root: {stray[0]}: a picture outside of the folders of classes: expected it "
                "in one"
            )
        for each in sorted(path for path in place.iterdir() if path.is_dir()):
            if each.name.startswith("."):
                continue
            found = find_pictures(each, folder)
            if not found:
                raise UserError(
                    f"data.root: {each}: there are no pictures in it: expected "
                    f"{', '.join(SUFFIXES)}"
                )
            files += found
            labels += [each.name] * len(found)
            parts += [part] * len(found)
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        found_text = f"one class, '{classes[0]}'" if classes else "no folders of classes"
        raise UserError(
            f"data.root: {folder}: {found_text}: expected a sub-folder of pictures for each of two "
            f"or more classes, or {LABELS}"
        )
    for part, place in roots.items():
        missing = set(classes) - {each for each, p in zip(labels, parts, strict=True) if p == part}
        if part == "train" and missing:
            raise UserError(f"data.root: {place}: class '{min(missing)}' isn't in it: expected it")
    targets = np.array([classes.index(label) for label in labels], dtype=np.int64)
    return Listing(files, targets, classes, parts if "" not in roots else [])


def _official_folders(folder: Path) -> dict[str, Path]:
    """Folders of splits by the split's name; empty if that isn't what the folders are."""
    names = {path.name: path for path in folder.iterdir() if path.is_dir()}
    visible = {name for name in names if not name.startswith(".")}
    found = {
        part: names[name] for part, known in PARTS.items() for name in known if name in visible
    }
    is_split = "train" in found and len(found) > 1
    return found if is_split and len(found) == len(visible) else {}


def find_pictures(place: Path, root: Path, deep: bool = True) -> list[Path]:
    """Pictures in a folder, sorted by name.

    Args:
        place: the folder.
        root: out of which no link may lead.
        deep: look into its sub-folders too.

    Raises:
        UserError: a link leads out of the root.
    """
    found = []
    inside = root.resolve()
    for parent, folders, files in os.walk(place):
        for name in ("", *folders, *files):  # the folder itself too
            path = Path(parent) / name
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise UserError(
                    f"{path}: a link out of the folder, to {path.resolve()}: expected "
                    "files inside it"
                )
        found += [Path(parent) / name for name in files if _is_picture(name)]
        if not deep:
            break
    return sorted(found)


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _list_by_labels(folder: Path, task: TaskChoice, group_by: str | None) -> Listing:
    path = folder / LABELS
    frame = read_table(str(path), "data.root")
    check_columns(frame, ["file", "label"], f"data.root: {path}")
    for name in ("file", "label"):
        if frame[name].isna().any():
            row = int(frame[name].isna().to_numpy().argmax()) + 1
            raise UserError(f"data.root: {path}: row {row} has no {name}: expected one")
    doubled = frame["file"][frame["file"].duplicated()]
    if len(doubled):
        raise UserError(f"data.root: {path}: file '{doubled.iloc[0]}' is in it twice")
    inside = folder.resolve()
    files = [folder / str(name) for name in frame["file"]]
    for file in files:
        if not file.resolve().is_relative_to(inside):
            raise UserError(f"data.root: {path}: '{file}' is out of the folder: expected it inside")
        if not file.is_file():
            raise UserError(f"data.root: {path}: there is no file '{file}': expected it")
    # Whole numbers are names of classes, however many.
    fractions = frame["label"].dtype.kind == "f" and bool((frame["label"] % 1 != 0).any())
    if task == "auto":
        task = "regression" if fractions else "classification"
    targets, classes = to_targets(frame["label"], task, f"data.root: {path}")
    parts: list[str] = []
    if "split" in frame.columns:
        parts = frame["split"].astype(str).tolist()
        if unknown := set(parts) - set(ORDER):
            raise UserError(
                f"data.root: {path}: split '{min(unknown)}': expected {', '.join(ORDER)}"
            )
        if set(parts) == {"train"} or "train" not in parts:
            raise UserError(f"data.root: {path}: column 'split': expected train and test, or val")
    groups = None
    if group_by is not None and group_by in frame.columns:
        groups = to_groups(frame[group_by].to_numpy())
    return Listing(files, targets, classes, parts, groups)


def _group_by_name(names: list[str], pattern: str) -> Array:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"data.group_by: {pattern}: no regular expression ({error}): expected such as "
            r"'patient(\d+)'"
        ) from None
    groups = []
    for name in names:
        match = compiled.search(name)
        if match is None:
            raise UserError(
                f"data.group_by: {pattern}: it doesn't match '{name}': expected it to do so"
            )
        groups.append(match.group(1 if compiled.groups else 0))
    return to_groups(np.array(groups))
