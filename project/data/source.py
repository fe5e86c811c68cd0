"""A data set as it was read, before it is cut into splits."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from project.core.arrays import Array, Indices
from project.core.types import Column, TaskName


class Rows:
    """Rows of an array in a file, read on access.

    Args:
        file: Path of a file in NumPy's format.
        indices: (N,) indices of the rows.
    """

    def __init__(self, file: Path, indices: Indices) -> None:
        self.file = file
        self.indices = indices
        self._array: Array = np.load(file, mmap_mode="r")
        self.shape = (len(indices), *self._array.shape[1:])
        self.dtype = self._array.dtype
        self.ndim = self._array.ndim

    @property
    def nbytes(self) -> int:
        """Number of bytes that the rows would take in memory."""
        return int(math.prod(self.shape) * self.dtype.itemsize)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> Array:
        """Reads rows into memory: a copy."""
        return np.array(self._array[self.indices[key]])

    def select(self, indices: Indices) -> "Rows":
        """Some of these rows, still in the file."""
        return Rows(self.file, self.indices[indices])

    def __reduce__(self) -> tuple[type["Rows"], tuple[Path, Indices]]:
        # A memory map would be pickled with its whole content.
        return Rows, (self.file, self.indices)


@dataclass(frozen=True)
class Source:
    """A whole data set.

    Attributes:
        inputs: (N, H, W, C) uint8 images, or (N, F) float32 table rows.
        targets: (N,) int64 class indices, or (N,) float32 values.
        classes: Class names; empty for regression.
        num_test: Number of samples at the end that are the official test set, or 0.
        num_val: Number of samples before those that are the official val set, or 0.
        columns: Table columns, not fitted yet; empty if the inputs are features already.
        groups: (N,) group indices, each group stays in one split; None without groups.
        times: (N,) sortable values, train is earlier than val and val than test; None to draw
            the splits.
        hashes: (N,) hashes of the inputs, if they are known; see ``hash_samples``.
        names: Sample names, such as file paths; empty if there are none.
        sizes: (N, 2) height and width of the images before they were resized; None for others.
        skipped: Name of each skipped file or row, and the reason.
    """

    inputs: Array | Rows
    targets: Array
    classes: tuple[str, ...] = ()
    num_test: int = 0
    num_val: int = 0
    columns: tuple[Column, ...] = ()
    groups: Indices | None = None
    times: Array | None = None
    hashes: Array | None = None
    names: tuple[str, ...] = ()
    sizes: Array | None = None
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def task(self) -> TaskName:
        """Classification if there are class names, else regression."""
        return "classification" if self.classes else "regression"
