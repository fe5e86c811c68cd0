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

from project.data.augment import Augment
from project.data.sampling import Batches, Key
from project.data.source import Source
from project.data.splits import (
    NAMES,
    Split,
    Splits,
    cut,
    drop_duplicates,
    find_duplicates,
    fingerprint,
    hash_samples,
)
from project.errors import UserError
from project.types import Array, Count, Indices, NonNegativeInt, Spec

Batch = tuple[Tensor, Tensor]


class Samples(Dataset[Batch]):
    """One split in memory; an item is a whole batch.

    Args:
        inputs: (N, H, W, C) uint8 or (N, F) float32.
        targets: (N,) int64 or float32.
        indices: (N,) of these samples in the source.
        augment: applied to the inputs; None leaves them as they are.
    """

    def __init__(
        self, inputs: Array, targets: Array, indices: Indices, augment: Augment | None = None
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
        # Copies, so that nothing here holds a test sample once the source goes.
        self.train = _take(source, split.train)
        self.val = _take(source, split.val)
        for name, samples in (("train", self.train), ("val", self.val)):
            for part in (samples.inputs, samples.targets):
                if part.dtype.kind == "f" and not np.isfinite(part).all():
                    raise UserError(f"data: a sample of {name} is not finite: expected numbers")
        self.spec = _describe(source, self.train)
        # Training samples as they are, for the generalisation gap: a fixed subset as large as val.
        subset = np.random.default_rng(self.splits.seed).permutation(len(self.train))
        subset = np.sort(subset[: len(self.val)])
        self.train_subset = Samples(
            self.train.inputs[subset], self.train.targets[subset], self.train.indices[subset]
        )
        self._set_augment(self.augment)

    def _set_augment(self, augment: Augment | None) -> None:
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
        augment: Augment | None,
        seed: int,
    ) -> "DataModule":
        """The same samples, shared, for a run with other settings of how they are served."""
        other = copy.copy(self)
        other.trainer = None
        other.batch_size = batch_size
        other.num_workers = num_workers
        other.seed = seed
        other._set_augment(augment)
        return other

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
        self.test = _take(source, self.split.test)
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
        batches = Batches(len(samples), self.batch_size, seed, rank, num_ranks)
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


def _take(source: Source, indices: Indices) -> Samples:
    return Samples(source.inputs[indices], source.targets[indices], indices)


def _describe(source: Source, train: Samples) -> Spec:
    """The source as its training split shows it."""
    if train.inputs.dtype == np.uint8:  # by counting: a float copy would be eight times as large
        levels = np.arange(256)
        channels = np.moveaxis(train.inputs, -1, 0)
        counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        std = np.sqrt((shares * (levels - mean[:, np.newaxis]) ** 2).sum(axis=1))
    else:
        mean = train.inputs.mean(axis=0, dtype=np.float64)
        std = train.inputs.std(axis=0, dtype=np.float64)
    target_mean, target_std = 0.0, 1.0
    if source.task == "regression":
        targets = train.targets.astype(np.float64)
        target_mean, target_std = float(targets.mean()), float(targets.std()) or 1.0
    return Spec(
        task=source.task,
        shape=train.inputs.shape[1:],
        classes=source.classes,
        mean=tuple(mean.tolist()),
        std=tuple(np.where(std > 0, std, 1.0).tolist()),
        target_mean=target_mean,
        target_std=target_std,
    )
