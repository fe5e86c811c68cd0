"""What every data set is once it has been read."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from project.core.arrays import Array, Indices
from project.core.types import Column, TaskName


class Rows:
    """Rows of an array in a file, read when they are asked for.

    Args:
        file: in NumPy's format.
        indices: of the rows, (N,).
    """

    def __init__(self, file: Path, indices: Indices) -> None:
        self.file = file
        self.indices = indices
        self._open()

    def _open(self) -> None:
        self._array: Array = np.load(self.file, mmap_mode="r")
        self.shape = (len(self.indices), *self._array.shape[1:])
        self.dtype = self._array.dtype
        self.ndim = self._array.ndim

    @property
    def nbytes(self) -> int:
        """Bytes that the rows would take in memory."""
        return int(math.prod(self.shape) * self.dtype.itemsize)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Any) -> Array:
        """Reads rows into memory: a copy."""
        return np.array(self._array[self.indices[key]])

    def select(self, indices: Indices) -> "Rows":
        """Some of these rows, not read yet."""
        return Rows(self.file, self.indices[indices])

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled as all that is in it.
        return {"file": self.file, "indices": self.indices}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.file, self.indices = state["file"], state["indices"]
        self._open()


@dataclass(frozen=True)
class Source:
    """A whole data set.

    Attributes:
        inputs: (N, H, W, C) uint8 images, or (N, F) float32 table rows.
        targets: (N,) int64 class indices, or (N,) float32 values.
        classes: a name for each class index; empty where the targets are values.
        num_test: how many samples at the end are the official test set; 0 where there is none.
        num_val: how many samples before those are the official val; 0 where there is none.
        columns: of a table whose rows must be made features; empty where they are them already.
        groups: (N,) int64; samples of one group stay in one split. None where each is its own.
        times: (N,) that can be sorted; train comes before val, val before test. None to draw.
        hashes: (N,) of the inputs, where they are known; see ``hash_samples``.
        names: of the samples, such as files; empty where they have none.
        sizes: (N, 2) height and width of the images before they were resized; None if they weren't.
        skipped: why a file or row isn't among the samples, by its name.
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
        """What the targets are."""
        return "classification" if self.classes else "regression"
