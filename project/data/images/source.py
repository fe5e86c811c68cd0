"""A user's own images, in one folder per class or with a table of labels."""

import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Ge, Le

from project.core.arrays import Indices
from project.core.errors import UserError
from project.data.images.cache import decode_all
from project.data.images.listing import LABELS, list_by_folders, list_by_labels, relative_name
from project.data.ratios import SPLITS
from project.data.source import Source
from project.data.tables.values import TaskChoice, to_groups


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

    Raises:
        UserError: Names the folder or file and what was expected.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"data.root: {root}: there is no such folder: expected a folder of images")
    if (folder / LABELS).is_file():
        listing, classes = list_by_labels(folder, task, group_by, ignore)
    else:
        listing, classes = list_by_folders(folder, ignore)
    listing["name"] = [relative_name(file, folder) for file in listing["file"]]
    if group_by is not None and "group" not in listing:
        listing["group"] = _group_by_name(listing["name"].tolist(), group_by)
    return _read(listing, classes, (image_size, image_size, channels), f"data.root: {root}")


def _read(
    listing: pd.DataFrame, classes: tuple[str, ...], shape: tuple[int, int, int], key: str
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
