"""The LightningDataModule: reads a source, cuts it, seals the test split and loads the rest."""

import copy
import hashlib
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from project.core.errors import UserError
from project.core.types import Count, NonNegativeInt
from project.data.images.similar import hash_small
from project.data.ratios import Splits
from project.data.samples import Augment, Batch, Batches, Samples, describe, take
from project.data.source import Source
from project.data.splits import cut, find_duplicates, fingerprint, hash_samples, without_duplicates
from project.data.tables.columns import fit_columns


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
        self.balanced_sampling = balanced_sampling
        self.seed = seed
        self.test: Samples | None = None
        source = read()
        self.hashes, self.image_hashes = hash_samples(source), hash_small(source.inputs)
        split = cut(source, splits, limit_train)
        if drop_duplicates:
            split = without_duplicates(self.hashes, split)
        self.split = split
        self.duplicates = find_duplicates(self.hashes, split)
        self.fingerprints = {
            name: fingerprint(source, self.hashes, part) for name, part in vars(split).items()
        }
        # What a report needs of all samples, without the inputs of the test split.
        self.about = replace(source, inputs=source.inputs[:0], hashes=None)
        columns = source.columns and fit_columns(source.columns, source.inputs[split.train])
        self.train = take(source, columns, "train", split.train)
        self.val = take(source, columns, "val", split.val)
        self.spec = describe(source, self.train, columns)
        # Unaugmented training samples, as many as val has, to measure the generalisation gap.
        order = np.random.default_rng(splits.seed).permutation(len(self.train))
        subset = split.train[np.sort(order[: len(self.val)])]
        self.train_subset = take(source, columns, "train", subset)
        self._set_augment(augment)

    def _set_augment(self, augment: Augment | None) -> None:
        if self.balanced_sampling and not self.spec.classes:
            raise UserError("data.balanced_sampling: True: there are no classes: expected False")
        if augment is not None:
            if not self.spec.is_image:
                raise UserError("augment: this is a table, not images: expected augment=none")
            augment.check(self.train.inputs[0])
        self.augment = augment
        self.train = replace(self.train, augment=augment)

    def with_settings(self, augment: Augment | None, **settings: Any) -> "DataModule":
        """A copy that shares the samples, with other settings of how they are loaded."""
        other = copy.copy(self)
        other.trainer = None
        vars(other).update(settings)
        other._set_augment(augment)
        return other

    def check_devices(self, count: int) -> None:
        """Checks that this number of devices can share each batch of training and validation."""
        size, num_val = min(self.batch_size, len(self.train)), len(self.val)
        if size % count:
            raise UserError(f"data.batch_size: {size}: expected a multiple of the {count} devices")
        if num_val < count:
            expected = f"expected one for each of the {count} devices"
            raise UserError(f"data.splits.val: {num_val} samples: {expected}")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the indices and contents of all three splits."""
        return hashlib.sha256("".join(self.fingerprints.values()).encode()).hexdigest()

    def open_test(self) -> Samples:
        """Opens the sealed test split; only ``evaluate`` may call it, and records that it did."""
        self.test = take(self.read(), self.spec.columns, "test", self.split.test)
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
        trainer = self.trainer
        rank, num_ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        classes = samples.targets if self.balanced_sampling and seed is not None else None
        num_workers = 0  # slicing an array in memory takes microseconds
        if samples.augment is not None:
            is_small = samples.inputs.nbytes < 10_000_000  # so does augmenting a few small images
            # The threads of torch are this process's share of the cores.
            automatic = 0 if is_small else min(8, torch.get_num_threads() - 1)
            num_workers = automatic if self.num_workers == "auto" else self.num_workers
        return DataLoader(
            samples,
            sampler=Batches(len(samples), self.batch_size, seed, rank, num_ranks, classes),
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_reset_signals,
            pin_memory=torch.cuda.is_available(),
        )


def _reset_signals(worker_id: int) -> None:
    """Leaves Ctrl-C to the main process, which ends its loader workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
