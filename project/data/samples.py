"""The samples of one split in memory, and their description for a model."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from project.core.arrays import Array, Indices
from project.core.types import Column, Spec
from project.data.augment import Augment
from project.data.sampling import Key
from project.data.source import Rows, Source

Batch = tuple[Tensor, Tensor]
IN_MEMORY = 2**28  # bytes up to which the images of a split are read into memory


class Samples(Dataset[Batch]):
    """One split; an item is a whole batch.

    Args:
        inputs: (N, H, W, C) uint8 or (N, F) float32; a large split stays in its file.
        targets: (N,) int64 or float32.
        indices: (N,) positions of these samples in the source.
        augment: Transforms of the inputs; None leaves them unchanged.
    """

    def __init__(
        self, inputs: Array | Rows, targets: Array, indices: Indices, augment: Augment | None = None
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.indices = indices
        self.augment = augment

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, key: Key) -> Batch:
        epoch, positions = key
        inputs = self.inputs[positions]
        if self.augment is not None:
            inputs = self.augment(inputs, epoch, self.indices[positions])
        return torch.from_numpy(inputs), torch.from_numpy(self.targets[positions])


def select_inputs(inputs: Array | Rows, indices: Indices) -> Array | Rows:
    """A copy of some inputs; rows of a file that are too large for memory stay there."""
    if not isinstance(inputs, Rows):
        return inputs[indices]
    rows = inputs.select(indices)
    return rows[:] if rows.nbytes <= IN_MEMORY else rows


def describe(
    source: Source, train: Samples, columns: tuple[Column, ...], mean: Array, std: Array
) -> Spec:
    """What a model is built from: shapes, classes and the statistics of the training split."""
    spec = Spec(
        task=source.task,
        shape=train.inputs.shape[1:],
        classes=source.classes,
        mean=tuple(mean.tolist()),
        std=tuple(np.where(std > 0, std, 1.0).tolist()),
        columns=columns,
    )
    if source.classes:
        counts = np.bincount(train.targets, minlength=len(source.classes))
        return replace(spec, class_counts=tuple(counts.tolist()))
    values = train.targets.astype(np.float64)
    return replace(spec, target_mean=float(values.mean()), target_std=float(values.std()) or 1.0)


def measure(inputs: Array | Rows) -> tuple[Array, Array]:
    """Mean and standard deviation of each channel or feature, (F,)."""
    if inputs.dtype != np.uint8:
        rows = inputs[:]
        return rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    # Count the levels: a copy of the images as floats would be eight times as large.
    levels = np.arange(256)
    counts = np.zeros((inputs.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(inputs), 4096):
        for channel, pixels in enumerate(np.moveaxis(inputs[start : start + 4096], -1, 0)):
            counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    return mean, np.sqrt((shares * (levels - mean[:, np.newaxis]) ** 2).sum(axis=1))
