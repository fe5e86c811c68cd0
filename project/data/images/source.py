"""Pictures of the user's own, in folders by class or with a table of labels."""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Ge, Le

from project.core.arrays import Array
from project.core.errors import UserError, nearest
from project.data.images.cache import decode_all
from project.data.images.decode import SUFFIXES
from project.data.ratios import SPLITS
from project.data.source import Source
from project.data.tables.read import check_columns, read_table
from project.data.tables.targets import TaskChoice, to_groups, to_targets
from project.data.tables.values import check_complete, to_texts

LABELS = "labels.csv"
# Official splits by the names that they go by, in lower case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


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
    image_size: Annotated[int, Ge(8), Le(1024)] = 64,
    channels: Literal[1, 3] = 3,
    task: TaskChoice = "auto",
    group_by: str | None = None,
    ignore: list[str] = [],  # noqa: B006 - never changed
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
        ignore: classes that are left out.

    Raises:
        UserError: names the folder or file and what was expected.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"data.root: {root}: there is no such folder: expected one of pictures")
    if (folder / LABELS).is_file():
        listing = _list_by_labels(folder, task, group_by, ignore)
    else:
        listing = _list_by_folders(folder, ignore)
    names = [relative_name(file, folder) for file in listing.files]
    if group_by is not None and listing.groups is None:
        listing.groups = _group_by_name(names, group_by)
    return _read(folder, listing, names, image_size, channels)


def _read(
    folder: Path, listing: Listing, names: list[str], image_size: int, channels: int
) -> Source:
    # Official val, then official test, are at the end.
    parts = np.array([SPLITS.index(part) for part in listing.parts] or [0] * len(names))
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
        skipped=unreadable,
    )


def _list_by_folders(folder: Path, ignore: Sequence[str]) -> Listing:
    roots = _official_folders(folder) or {"": folder}
    files, labels, parts, names = [], [], [], set[str]()
    for part, place in roots.items():
        if stray := find_images(place, place, deep=False):
            raise UserError(
                f"data.root: {stray[0]}: a picture outside of the folders of classes: expected it "
                "in one"
            )
        visible = [path for path in sorted(place.iterdir()) if _is_visible_folder(path)]
        if part and not visible:
            raise UserError(f"data.root: {place}: there are no folders of classes in it")
        for each in visible:
            name = relative_name(each, place)
            names.add(name)
            if name in ignore:
                continue
            found = find_images(each, folder)
            if not found:
                raise UserError(
                    f"data.root: {each}: there are no pictures in it: expected "
                    f"{', '.join(SUFFIXES)}"
                )
            files += found
            labels += [name] * len(found)
            parts += [part] * len(found)
    _check_ignored(ignore, names)
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


def _check_ignored(ignore: Sequence[str], names: Collection[str]) -> None:
    for name in ignore:
        if name not in names:
            raise UserError(f"data.ignore: {name}: there is no such class: {nearest(name, names)}")


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _official_folders(folder: Path) -> dict[str, Path]:
    """Folders of splits by the split's name; empty if that isn't what the folders are.

    Raises:
        UserError: some are and some aren't.
    """
    visible = [path for path in sorted(folder.iterdir()) if _is_visible_folder(path)]
    parts = {path: PARTS.get(path.name.lower(), "") for path in visible}
    found = {part: path for path, part in parts.items() if part}
    if "train" not in found or len(found) < 2:  # "train" alone may be a class, beside "car"
        return {}
    if len(found) != len(visible):
        others = ", ".join(f"'{path.name}'" for path in visible)
        raise UserError(
            f"data.root: {folder}: folders {others}: expected train, val and test alone, once each"
        )
    return {part: found[part] for part in SPLITS if part in found}


def relative_name(file: Path, folder: Path) -> str:
    """A file's path in a folder, as a text whatever bytes it is made of."""
    return os.fsencode(file.relative_to(folder).as_posix()).decode(errors="backslashreplace")


def find_images(place: Path, root: Path, deep: bool = True, key: str = "data.root") -> list[Path]:
    """Pictures in a folder, sorted by name.

    Args:
        place: the folder.
        root: out of which no link may lead.
        deep: look into its sub-folders too.
        key: what the user gave it by, for the error message.

    Raises:
        UserError: a link leads out of the root, or to another folder.
    """
    found = []
    inside = root.resolve()
    for parent, folders, files in os.walk(place):
        for name in ("", *folders, *files):  # the folder itself too
            path = Path(parent) / name
            if not path.is_symlink():
                continue
            end = os.path.realpath(path)
            if not Path(end).is_relative_to(inside):
                raise UserError(
                    f"{key}: {path}: a link out of the folder, to {end}: expected files inside it"
                )
            if name in folders:
                raise UserError(
                    f"{key}: {path}: a link to a folder, {end}: expected a folder of its own"
                )
        found += [Path(parent) / name for name in files if _is_picture(name)]
        if not deep:
            break
    return sorted(found)


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _list_by_labels(
    folder: Path, task: TaskChoice, group_by: str | None, ignore: Sequence[str]
) -> Listing:
    path = folder / LABELS
    inside = folder.resolve()
    if not path.resolve().is_relative_to(inside):
        raise UserError(f"data.root: {path}: a link out of the folder: expected a file inside it")
    frame = read_table(str(path), "data.root")
    check_columns(frame, ["file", "label"], f"data.root: {path}")
    for name in ("file", "label"):
        check_complete(frame[name], name, f"data.root: {path}")
    labels = to_texts(frame["label"])
    _check_ignored(ignore, set(labels))
    frame = frame[[label not in ignore for label in labels]].reset_index(drop=True)
    if frame.empty:
        raise UserError(f"data.ignore: {ignore}: no picture is left")
    files = [Path(os.path.normpath(folder / str(name))) for name in frame["file"]]
    for file, count in Counter(files).items():
        if not Path(os.path.realpath(file)).is_relative_to(inside):
            raise UserError(f"data.root: {path}: '{file}' is out of the folder: expected it inside")
        if not file.is_file():
            raise UserError(f"data.root: {path}: there is no file '{file}': expected it")
        if count > 1:
            raise UserError(
                f"data.root: {path}: file '{relative_name(file, folder)}' is listed twice"
            )
    # Whole numbers are names of classes, however many.
    fractions = frame["label"].dtype.kind == "f" and bool((frame["label"] % 1 != 0).any())
    if task == "auto":
        task = "regression" if fractions else "classification"
    targets, classes = to_targets(frame["label"], task, f"data.root: {path}")
    parts = _list_parts(frame["split"], path) if "split" in frame.columns else []
    groups = None
    if group_by is not None and group_by in frame.columns:
        check_complete(frame[group_by], group_by, f"data.root: {path}")
        groups = to_groups(frame[group_by].to_numpy())
    return Listing(files, targets, classes, parts, groups)


def _list_parts(column: pd.Series, path: Path) -> list[str]:
    """The official split of each row of ``labels.csv``."""
    check_complete(column, "split", f"data.root: {path}")
    parts = []
    for row, text in enumerate(column.astype(str), 1):
        part = PARTS.get(text.strip().lower())
        if part is None:
            expected = ", ".join(SPLITS)
            raise UserError(f"data.root: {path}: row {row}: split '{text}': expected {expected}")
        parts.append(part)
    if set(parts) == {"train"} or "train" not in parts:
        raise UserError(f"data.root: {path}: column 'split': expected train and test, or val")
    return parts


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
        group = match and match.group(1 if compiled.groups else 0)
        if group is None:
            raise UserError(
                f"data.group_by: {pattern}: it doesn't match '{name}': expected it to do so"
            )
        groups.append(group)
    return to_groups(np.array(groups))
