"""The samples of one split in memory, and their description for a model."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from project.core.arrays import Array, Indices
from project.core.errors import UserError
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
        self,
        inputs: Array | Rows,
        targets: Array,
        indices: Indices,
        augment: Augment | None = None,
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

    def select(self, positions: Indices) -> "Samples":
        """A copy of some of these samples, without augmentation."""
        inputs = select_inputs(self.inputs, positions)
        return Samples(inputs, self.targets[positions], self.indices[positions])

    def check_finite(self, name: str, has_gaps: bool) -> None:
        """Checks that all numbers are finite.

        Args:
            name: Name of the split.
            has_gaps: Whether the inputs may be NaN, a missing value.

        Raises:
            UserError: A target or an input is not finite.
        """
        for values in (self.targets, *([] if has_gaps else [self.inputs])):
            if values.dtype.kind == "f" and not np.isfinite(values[:]).all():
                raise UserError(f"data: a sample of {name} is not finite: expected numbers")


def select_inputs(inputs: Array | Rows, indices: Indices) -> Array | Rows:
    """A copy of some inputs; rows of a file that are too large for memory stay there."""
    if not isinstance(inputs, Rows):
        return inputs[indices]
    rows = inputs.select(indices)
    return rows[:] if rows.nbytes <= IN_MEMORY else rows


def describe(
    source: Source, train: Samples, columns: tuple[Column, ...], mean: Array, std: Array
) -> Spec:
    """The description of a source that a model is built from, taken from the training split.

    Args:
        source: Source of the samples.
        train: Training split.
        columns: Fitted columns; empty for images and for rows that are already features.
        mean: (F,) mean of each channel or feature.
        std: (F,) standard deviation of each channel or feature.
    """
    target_mean, target_std = 0.0, 1.0
    class_counts: Array = np.array([], dtype=np.int64)
    if source.task == "regression":
        targets = train.targets.astype(np.float64)
        target_mean, target_std = float(targets.mean()), float(targets.std()) or 1.0
    else:
        class_counts = np.bincount(train.targets, minlength=len(source.classes))
    return Spec(
        task=source.task,
        shape=train.inputs.shape[1:],
        classes=source.classes,
        mean=tuple(mean.tolist()),
        std=tuple(np.where(std > 0, std, 1.0).tolist()),
        target_mean=target_mean,
        target_std=target_std,
        class_counts=tuple(class_counts.tolist()),
        columns=columns,
    )


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
