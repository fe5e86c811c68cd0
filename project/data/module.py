"""The LightningDataModule: reads a source, cuts it, seals the test split and loads the rest."""

import copy
import hashlib
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from project.core.arrays import Indices
from project.core.errors import UserError
from project.core.types import Column, Count, NonNegativeInt
from project.data.augment import Augment
from project.data.images.similar import hash_small
from project.data.ratios import SPLITS, Splits
from project.data.samples import Batch, Samples, describe, measure, select_inputs
from project.data.sampling import Batches
from project.data.source import Source
from project.data.splits import cut, drop_duplicates, find_duplicates, fingerprint, hash_samples
from project.data.tables.columns import encode_rows, fit_columns


class DataModule(pl.LightningDataModule):
    """Loads the splits of one source.

    The test split is sealed: it is hashed while the data are read and then dropped; only
    ``open_test`` reads it again.

    Args:
        read: Function that reads the whole source.
        batch_size: Number of samples per training step, over all devices, >= 1.
        num_workers: Loader processes per device; ``auto`` starts some for costly augmentation.
        limit_train: Number of training samples to keep, drawn stratified; null keeps all.
        drop_duplicates: Whether to remove training samples that are also in val or test.
        balanced_sampling: Whether to draw every class equally often in training, with replacement.
        splits: Shares of the splits, and the seed that draws them.
        augment: Transforms of the training images.
        seed: Seed of the order of the training samples.
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
        self.seed = seed
        self.test: Samples | None = None
        self._load()
        self._set_augment(augment)

    def _load(self) -> None:
        source = self.read()
        hashes = hash_samples(source)
        self.split = cut(source, self.splits, self.limit_train)
        if self.drop_duplicates:
            self.split = drop_duplicates(hashes, self.split)
        self.duplicates = find_duplicates(hashes, self.split)
        self.fingerprints = {
            name: fingerprint(source, hashes, getattr(self.split, name)) for name in SPLITS
        }
        self.skipped = source.skipped
        # What a report needs of all samples, without the inputs of the test split.
        self.about = replace(source, inputs=source.inputs[:0], hashes=None)
        self.hashes, self.image_hashes = hashes, hash_small(source.inputs)
        self.columns: tuple[Column, ...] = ()
        if source.columns:
            rows = source.inputs[self.split.train]
            self.columns, mean, std = fit_columns(source.columns, rows)
        # Copies, so that no test sample is kept alive once the source goes out of scope.
        self.train = self._take(source, "train", self.split.train)
        self.val = self._take(source, "val", self.split.val)
        if not self.columns:
            mean, std = measure(self.train.inputs)
        self.spec = describe(source, self.train, self.columns, mean, std)
        # Unaugmented training samples, as many as val has, to measure the generalisation gap.
        order = np.random.default_rng(self.splits.seed).permutation(len(self.train))
        subset = np.sort(order[: len(self.val)])
        self.train_subset = self._take(source, "train", self.split.train[subset])

    def _take(self, source: Source, name: str, indices: Indices) -> Samples:
        inputs, targets = select_inputs(source.inputs, indices), source.targets[indices]
        if isinstance(inputs, np.ndarray) and self.columns:
            inputs = encode_rows(inputs, source.columns, self.columns)
        # NaN is a missing value in columns, and a mistake elsewhere.
        for values in (targets, *([] if self.columns else [inputs])):
            if values.dtype.kind == "f" and not np.isfinite(values[:]).all():
                raise UserError(f"data: a sample of {name} is not finite: expected numbers")
        return Samples(inputs, targets, indices)

    def _set_augment(self, augment: Augment | None) -> None:
        if self.balanced_sampling and not self.spec.classes:
            raise UserError("data.balanced_sampling: True: there are no classes: expected False")
        if augment is not None:
            if not self.spec.is_image:
                raise UserError("augment: this is a table, not images: expected augment=none")
            augment.check(self.train.inputs[0])
        self.augment = augment
        self.train = Samples(self.train.inputs, self.train.targets, self.train.indices, augment)

    def with_settings(
        self,
        *,
        batch_size: int,
        num_workers: int | Literal["auto"],
        balanced_sampling: bool,
        augment: Augment | None,
        seed: int,
    ) -> "DataModule":
        """A copy that shares the samples, with other settings of how they are loaded."""
        other = copy.copy(self)
        other.trainer = None
        other.batch_size = batch_size
        other.num_workers = num_workers
        other.balanced_sampling = balanced_sampling
        other.seed = seed
        other._set_augment(augment)
        return other

    def check_devices(self, count: int) -> None:
        """Checks that this number of devices can share each batch of training and validation."""
        size, num_val = min(self.batch_size, len(self.train)), len(self.val)
        if size % count:
            raise UserError(f"data.batch_size: {size}: expected a multiple of the {count} devices")
        if num_val < count:
            raise UserError(
                f"data.splits.val: {num_val} samples: expected one for each of the {count} devices"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the indices and contents of all three splits."""
        return hashlib.sha256("".join(self.fingerprints.values()).encode()).hexdigest()

    def open_test(self) -> Samples:
        """Opens the sealed test split; only ``evaluate`` may call it, and records that it did."""
        self.test = self._take(self.read(), "test", self.split.test)
        return self.test

    def train_dataloader(self) -> DataLoader[Batch]:
        """Augmented batches of (inputs, targets), shuffled differently in every epoch."""
        return self._loader(self.train, self.seed)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Two loaders: val, and unaugmented training samples for the generalisation gap."""
        return [self._loader(self.val), self._loader(self.train_subset)]

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split, which must have been opened."""
        if self.test is None:
            raise RuntimeError("the test split is sealed: call open_test() first")
        return self._loader(self.test)

    def _loader(self, samples: Samples, seed: int | None = None) -> DataLoader[Batch]:
        rank, num_ranks = 0, 1
        if self.trainer is not None:
            rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        is_balanced = self.balanced_sampling and seed is not None
        classes = samples.targets if is_balanced else None
        num_workers = self._choose_num_workers(samples)
        return DataLoader(
            samples,
            sampler=Batches(len(samples), self.batch_size, seed, rank, num_ranks, classes),
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_reset_signals,
            pin_memory=torch.cuda.is_available(),
        )

    def _choose_num_workers(self, samples: Samples) -> int:
        if samples.augment is None:  # slicing an array in memory takes microseconds
            return 0
        if self.num_workers != "auto":
            return self.num_workers
        if samples.inputs.nbytes < 10_000_000:  # so does augmenting a few small images
            return 0
        return min(8, torch.get_num_threads() - 1)  # this process's share of the cores


def _reset_signals(worker_id: int) -> None:
    """Leaves Ctrl-C to the main process, which ends its loader workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
