"""A data set as it was read, before it is cut into splits."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from project.core.arrays import Array, Indices
from project.core.types import Column, TaskName


class Rows:
    """Rows ``indices`` (N,) of the array in a NumPy file, read on access."""

    def __init__(self, file: Path, indices: Indices) -> None:
        self.file = file
        self.indices = indices
        self._array: Array = np.load(file, mmap_mode="r")
        self.shape = (len(indices), *self._array.shape[1:])
        self.dtype, self.ndim = self._array.dtype, self._array.ndim
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

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
    """A whole data set; official val samples, then official test samples, are at its end."""

    inputs: Array | Rows  # (N, H, W, C) uint8 images, or (N, F) float32 table rows
    targets: Array  # (N,) int64 class indices, or (N,) float32 values
    classes: tuple[str, ...] = ()  # class names; empty for regression
    num_test: int = 0  # number of official test samples
    num_val: int = 0  # number of official val samples
    columns: tuple[Column, ...] = ()  # not fitted yet; empty if the inputs are features already
    groups: Indices | None = None  # (N,) group indices, each group stays in one split
    times: Array | None = None  # (N,) sortable values, train is earlier than val and val than test
    hashes: Array | None = None  # (N,) hashes of the inputs, if they are known
    names: tuple[str, ...] = ()  # sample names, such as file paths; empty if there are none
    sizes: Array | None = None  # (N, 2) height and width of the images before they were resized
    skipped: tuple[tuple[str, str], ...] = ()  # name of each skipped file or row, and the reason

    @property
    def task(self) -> TaskName:
        """Classification if there are class names, else regression."""
        return "classification" if self.classes else "regression"
