"""The LightningDataModule: reads a source, cuts it, seals the test split and loads the rest."""

import copy
import hashlib
import signal
from collections.abc import Callable
from typing import Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from project.core.arrays import Array, Indices
from project.core.errors import UserError
from project.core.types import Column, Count, NonNegativeInt, Spec
from project.data.augment import Augment
from project.data.ratios import Splits
from project.data.sampling import Batches, Key
from project.data.source import Rows, Source
from project.data.splits import (
    NAMES,
    Split,
    cut,
    drop_duplicates,
    find_duplicates,
    fingerprint,
    hash_samples,
)
from project.data.tables.columns import learn_columns, recode

Batch = tuple[Tensor, Tensor]
IN_MEMORY = 2**28  # bytes up to which the images of a split are read into memory


class Samples(Dataset[Batch]):
    """One split in memory; an item is a whole batch.

    Args:
        inputs: (N, H, W, C) uint8 or (N, F) float32; large ones stay in their file.
        targets: (N,) int64 or float32.
        indices: (N,) of these samples in the source.
        augment: applied to the inputs; None leaves them as they are.
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


class DataModule(pl.LightningDataModule):
    """Serves the splits of one source.

    The test split is sealed: it is hashed while the data are read and then dropped; only
    ``open_test`` reads it again.

    Args:
        read: reads the whole source.
        batch_size: samples a training step, over all devices.
        num_workers: loader processes a device; ``auto`` takes some where there is work for them.
        limit_train: use only so many training samples, drawn stratified; None uses all.
        drop_duplicates: take training samples out that are in val or test as well.
        balanced_sampling: draw each class as often as any other while training, with replacement.
        splits: ratios and seed of the splits.
        augment: transforms of the training images.
        seed: of the order in which samples are drawn.
    """

    def __init__(
        self,
        read: Callable[[], Source],
        *,
        batch_size: Count = 64,
        num_workers: NonNegativeInt | Literal["auto"] = "auto",
        limit_train: Count | None = None,
        drop_duplicates: bool = False,
        balanced_sampling: bool = False,
        splits: Splits = Splits(),  # noqa: B008 - frozen
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.read = read
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.limit_train = limit_train
        self.drop_duplicates = drop_duplicates
        self.balanced_sampling = balanced_sampling
        self.splits = splits
        self.augment = augment
        self.seed = seed
        self.test: Samples | None = None
        self._load()

    def _load(self) -> None:
        source = self.read()
        split, hashes = self._cut(source)
        if source.task == "regression" and min(len(split.val), len(split.test)) < 2:
            raise UserError("data.splits: val or test has 1 sample: expected 2 for a regression")
        self.split = split
        self.duplicates = find_duplicates(hashes, split)
        self.fingerprints = {
            name: fingerprint(source, hashes, getattr(split, name)) for name in NAMES
        }
        self.left_out = source.left_out
        self.columns: tuple[Column, ...] = ()
        if source.columns:
            self.columns, *spread = learn_columns(source.columns, source.inputs[split.train])
        # Copies, so that nothing here holds a test sample once the source goes.
        self.train = self._take(source, split.train)
        self.val = self._take(source, split.val)
        for name, samples in (("train", self.train), ("val", self.val)):
            # In columns NaN is a missing value.
            for part in (samples.targets, *([] if self.columns else [samples.inputs])):
                if part.dtype.kind == "f" and not np.isfinite(part[:]).all():
                    raise UserError(f"data: a sample of {name} is not finite: expected numbers")
        if not self.columns:
            spread = _measure(self.train.inputs)
        self.spec = _describe(source, self.train, self.columns, *spread)
        # Training samples as they are, for the generalisation gap: a fixed subset as large as val.
        subset = np.random.default_rng(self.splits.seed).permutation(len(self.train))
        subset = np.sort(subset[: len(self.val)])
        self.train_subset = Samples(
            _select(self.train.inputs, subset), self.train.targets[subset], split.train[subset]
        )
        self._set_augment(self.augment)

    def _set_augment(self, augment: Augment | None) -> None:
        if self.balanced_sampling and not self.spec.classes:
            raise UserError("data.balanced_sampling: True: there are no classes: expected False")
        if augment is not None:
            if self.train.inputs.ndim != 4:
                raise UserError("augment: it works on images, this is a table: expected none")
            augment.check(self.train.inputs[0])
        self.augment = augment
        self.train = Samples(self.train.inputs, self.train.targets, self.train.indices, augment)

    def serve(
        self,
        *,
        batch_size: int,
        num_workers: int | Literal["auto"],
        balanced_sampling: bool,
        augment: Augment | None,
        seed: int,
    ) -> "DataModule":
        """The same samples, shared, for a run with other settings of how they are served."""
        other = copy.copy(self)
        other.trainer = None
        other.batch_size = batch_size
        other.num_workers = num_workers
        other.balanced_sampling = balanced_sampling
        other.seed = seed
        other._set_augment(augment)
        return other

    def _take(self, source: Source, indices: Indices) -> Samples:
        inputs = _select(source.inputs, indices)
        if isinstance(inputs, np.ndarray) and self.columns:
            inputs = recode(inputs, source.columns, self.columns)
        return Samples(inputs, source.targets[indices], indices)

    def _cut(self, source: Source) -> tuple[Split, Array]:
        split, hashes = cut(source, self.splits, self.limit_train), hash_samples(source)
        if self.drop_duplicates:
            split = drop_duplicates(hashes, split)
            if not len(split.train):
                raise UserError(
                    "data.drop_duplicates: every training sample is also in val or test"
                )
        return split, hashes

    def check_devices(self, count: int) -> None:
        """Makes sure that so many devices can share each batch.

        Raises:
            UserError: they can't.
        """
        batch_size = min(self.batch_size, len(self.train))
        if batch_size % count:
            raise UserError(
                f"data.batch_size: {batch_size}: expected a multiple of the {count} devices"
            )
        if len(self.val) < count:
            raise UserError(
                f"data.splits.val: {len(self.val)} samples: expected one for each of the "
                f"{count} devices"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the indices and contents of all three splits."""
        return hashlib.sha256("".join(self.fingerprints.values()).encode()).hexdigest()

    def open_test(self) -> Samples:
        """Opens the sealed test split; only ``evaluate`` may, and it records that it did."""
        source = self.read()
        self.test = self._take(source, self.split.test)
        return self.test

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of (inputs, targets), augmented, in an order of their own each epoch."""
        return self._loader(self.train, self.seed)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Two loaders: val, then training samples without augmentation for the gap."""
        return [self._loader(self.val), self._loader(self.train_subset)]

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split.

        Raises:
            RuntimeError: it has not been opened.
        """
        if self.test is None:
            raise RuntimeError("the test split is sealed: open_test() opens it")
        return self._loader(self.test)

    def _loader(self, samples: Samples, seed: int | None = None) -> DataLoader[Batch]:
        rank, num_ranks = 0, 1
        if self.trainer is not None:
            rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        classes = None
        if self.balanced_sampling and seed is not None:
            classes = samples.targets
        batches = Batches(len(samples), self.batch_size, seed, rank, num_ranks, classes)
        num_workers = self._choose_num_workers(samples)
        return DataLoader(
            samples,
            sampler=batches,
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_ignore_interrupts,
            pin_memory=torch.cuda.is_available(),
        )

    def _choose_num_workers(self, samples: Samples) -> int:
        if self.num_workers != "auto":
            return self.num_workers if samples.augment is not None else 0
        # Slicing an array in memory takes microseconds, and so do a few small images.
        if samples.augment is None or samples.inputs.nbytes < 10_000_000:
            return 0
        return min(8, torch.get_num_threads() - 1)  # of this process's share of the machine


def _ignore_interrupts(worker_id: int) -> None:
    """Leaves Ctrl-C to the process that a loader worker serves, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _select(inputs: Array | Rows, indices: Indices) -> Array | Rows:
    """Some of the inputs; what is too large for memory stays in its file."""
    if not isinstance(inputs, Rows):
        return inputs[indices]
    rows = inputs.select(indices)
    return rows[:] if rows.nbytes <= IN_MEMORY else rows


def _describe(
    source: Source, train: Samples, columns: tuple[Column, ...], mean: Array, std: Array
) -> Spec:
    """The source as its training split shows it."""
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


def _measure(inputs: Array | Rows) -> list[Array]:
    """Mean and standard deviation of each channel or column."""
    if inputs.dtype != np.uint8:
        rows = inputs[:]
        return [rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)]
    # By counting: a float copy would be eight times as large.
    levels = np.arange(256)
    counts = np.zeros((inputs.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(inputs), 4096):
        for channel, pixels in enumerate(np.moveaxis(inputs[start : start + 4096], -1, 0)):
            counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    return [mean, np.sqrt((shares * (levels - mean[:, np.newaxis]) ** 2).sum(axis=1))]
