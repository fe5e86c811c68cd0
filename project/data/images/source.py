"""A user's own images, in one folder per class or with a table of labels."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from project.core.arrays import Indices
from project.core.errors import UserError
from project.data.images.cache import decode_all
from project.data.images.listing import (
    LABELS,
    Listing,
    list_by_folders,
    list_by_labels,
    relative_name,
)
from project.data.ratios import SPLITS
from project.data.source import Source
from project.data.tables.targets import TaskChoice, to_groups


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
        listing = list_by_labels(folder, task, group_by, ignore)
    else:
        listing = list_by_folders(folder, ignore)
    names = [relative_name(file, folder) for file in listing.files]
    if group_by is not None and listing.groups is None:
        listing = replace(listing, groups=_group_by_name(names, group_by))
    return _read(listing, names, (image_size, image_size, channels), f"data.root: {root}")


def _read(listing: Listing, names: list[str], shape: tuple[int, int, int], key: str) -> Source:
    # A source keeps its official val, then its official test samples, at the end.
    parts = np.array([SPLITS.index(part) for part in listing.parts] or [0] * len(names))
    order = np.argsort(parts, kind="stable")
    decoded = decode_all([listing.files[i] for i in order], shape)
    skipped = tuple((names[order[i]], reason) for i, reason in decoded.unreadable.items())
    kept = order[decoded.readable]
    if not len(kept):
        name, reason = skipped[0]
        raise UserError(f"{key}: none of {len(names)} images can be read ({name}: {reason})")
    for index, name in enumerate(listing.classes):
        if not (listing.targets[kept] == index).any():
            raise UserError(
                f"{key}: no image of class '{name}' can be read: expected one or more, or "
                "data.ignore"
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
        skipped=skipped,
    )


def _group_by_name(names: list[str], pattern: str) -> Indices:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"data.group_by: {pattern}: not a regular expression ({error}): expected one such as "
            r"'patient(\d+)'"
        ) from None
    groups = []
    for name in names:
        match = compiled.search(name)
        group = match and match.group(1 if compiled.groups else 0)
        if group is None:
            raise UserError(
                f"data.group_by: {pattern}: does not match '{name}': expected a pattern that "
                "matches every file"
            )
        groups.append(group)
    return to_groups(np.array(groups))
