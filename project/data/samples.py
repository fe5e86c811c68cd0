"""The samples of one split: augmented, in batches, and described for a model."""

import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import albumentations
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from project.core.arrays import Array, Indices
from project.core.errors import UserError, one_line
from project.core.types import Column, Spec
from project.data.source import Rows, Source
from project.data.tables.columns import encode_rows, to_features

Batch = tuple[Tensor, Tensor]
Key = tuple[int, Indices]  # epoch, positions in the split
IN_MEMORY = 2**28  # bytes up to which the images of a split are read into memory
# OpenCV's threads don't speed up small images, and compete for the cores in loader workers.
cv2.setNumThreads(0)
# The same option serves greyscale images, which have no hue to shift, and colour images.
warnings.filterwarnings("ignore", message="HueSaturationValue: hue_shift and sat_shift are not")


class Augment:
    """Applies transforms in order, with a random state per sample; ``seed`` is the run's.

    On its own, albumentations repeats the same draws in every loader worker and every epoch.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int) -> None:
        self.seed = seed
        self.compose = albumentations.Compose(list(transforms))

    def check(self, image: Array) -> None:
        """Checks that each transform keeps shape and type of a training sample, (H, W, C) uint8."""
        for transform in self.compose.transforms:
            name = type(transform).__name__
            try:
                changed = transform(image=image, force_apply=True)["image"]
            except Exception as error:  # albumentations, OpenCV and NumPy raise many types
                reason = f"can't transform these images: {one_line(error)}"
                raise UserError(f"augment: {name} {reason}") from None
            if changed.shape != image.shape or changed.dtype != image.dtype:
                reason = f"turns an image into {changed.dtype} of shape {changed.shape}"
                expected = f"expected {image.dtype} of shape {image.shape}"
                raise UserError(f"augment: {name} {reason}: {expected}")

    def __call__(self, images: Array, epoch: int, indices: Indices) -> Array:
        """Augments a copy of (B, H, W, C) uint8 images with ``indices`` (B,) in the source."""
        augmented = np.empty_like(images)
        for position, index in enumerate(indices.tolist()):
            generator = np.random.default_rng((self.seed, epoch, index))
            self.compose.set_random_state(generator, random.Random(generator.bytes(8)))
            augmented[position] = self.compose(image=images[position])["image"]
        return augmented


@dataclass(eq=False)
class Samples(Dataset[Batch]):
    """One split; an item is a whole batch."""

    inputs: Array | Rows  # (N, H, W, C) uint8 or (N, F) float32; a large split stays in its file
    targets: Array  # (N,) int64 or float32
    indices: Indices  # (N,) positions of these samples in the source
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, key: Key) -> Batch:
        epoch, positions = key
        inputs = self.inputs[positions]
        if self.augment is not None:
            inputs = self.augment(inputs, epoch, self.indices[positions])
        return torch.from_numpy(inputs), torch.from_numpy(self.targets[positions])


@dataclass(eq=False)
class Batches(Sampler[Key]):
    """Yields whole batches as a function of (seed, epoch), for ``DataLoader(batch_size=None)``.

    Every rank draws the same global batches and takes every ``num_ranks``-th sample of each, so
    that two processes together see what one process sees. Training drops the incomplete batch at
    the end of an epoch; the order changes from epoch to epoch, so no sample is dropped for good.
    """

    num_samples: int
    batch_size: int  # over all ranks; in training a multiple of their number
    seed: int | None = None  # of the shuffled order; None keeps the order and the last batch
    rank: int = 0
    num_ranks: int = 1
    classes: Array | None = None  # (num_samples,), to draw each equally often, with replacement
    epoch: int = 0

    def __post_init__(self) -> None:
        size = min(self.batch_size, self.num_samples)
        end = self.num_samples - (0 if self.seed is None else self.num_samples % size)
        self.starts = range(self.rank, end, self.num_ranks * max(1, size // self.num_ranks))

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0; Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Key]:
        order = self._draw()
        for start in self.starts:
            yield self.epoch, order[start : start + self.starts.step : self.num_ranks]

    def _draw(self) -> Indices:
        if self.seed is None:
            return np.arange(self.num_samples)
        random = np.random.default_rng((self.seed, self.epoch))
        if self.classes is None:
            return random.permutation(self.num_samples)
        counts = np.bincount(self.classes)
        probabilities = 1 / (counts[self.classes] * np.count_nonzero(counts))
        return random.choice(self.num_samples, self.num_samples, p=probabilities)


def take(source: Source, columns: tuple[Column, ...], name: str, indices: Indices) -> Samples:
    """Copies a split, so that no other sample is kept alive; large inputs stay in their file."""
    inputs, targets = source.inputs, source.targets[indices]
    inputs = inputs.select(indices) if isinstance(inputs, Rows) else inputs[indices]
    if isinstance(inputs, Rows) and inputs.nbytes <= IN_MEMORY:
        inputs = inputs[:]
    if columns:
        inputs = encode_rows(inputs[:], source.columns, columns)
    # NaN is a missing value in columns, and a mistake elsewhere.
    for values in (targets, *([] if columns else [inputs])):
        if values.dtype.kind == "f" and not np.isfinite(values[:]).all():
            raise UserError(f"data: a sample of {name} is not finite: expected numbers")
    return Samples(inputs, targets, indices)


def describe(source: Source, train: Samples, columns: tuple[Column, ...]) -> Spec:
    """What a model is built from: shapes, classes and the statistics of the training split."""
    mean, std = measure(to_features(train.inputs[:], columns) if columns else train.inputs)
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
