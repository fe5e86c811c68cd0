"""Cuts a data set into train, val and test, and fingerprints what is where."""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator
from sklearn.model_selection import train_test_split

from project.data.source import Source
from project.errors import UserError
from project.types import Array, Indices, Seed, Share

NAMES = ("train", "val", "test")


class Splits(BaseModel):
    """The ratios of the splits, and the seed that draws them.

    The seed is apart from the run's: runs of several seeds then share one test set. Where a data
    set has an official test set, that stays as it is and the rest is cut at train : val.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    train: Share = 0.6
    val: Share = 0.1
    test: Share = 0.3
    seed: Seed = 0

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"expected train, val and test to sum to 1, they sum to {total:g}")
        return self


@dataclass(frozen=True)
class Split:
    """Which samples are in which part: indices into the source, sorted.

    Attributes:
        train: samples to learn from.
        val: samples to choose by.
        test: samples to judge by, once.
    """

    train: Indices
    val: Indices
    test: Indices


def cut(source: Source, splits: Splits, limit_train: int | None = None) -> Split:
    """Draws the splits; stratified where the targets are classes.

    Args:
        source: the whole data set.
        splits: ratios and seed.
        limit_train: keep only so many training samples (stratified); None keeps all.

    Raises:
        UserError: a class or the whole is too small to be in each split.
    """
    num_samples = len(source.targets)
    everything = np.arange(num_samples)
    if source.num_test:
        rest, test = np.split(everything, [num_samples - source.num_test])
    else:
        rest, test = _divide(source, everything, splits.test, splits.seed, "data.splits.test")
    share = splits.val / (splits.train + splits.val)
    train, val = _divide(source, rest, share, splits.seed, "data.splits.val")
    if limit_train is not None and limit_train < len(train):
        train, _ = _divide(
            source, train, 1 - limit_train / len(train), splits.seed, "data.limit_train"
        )
    return Split(np.sort(train), np.sort(val), np.sort(test))


def _divide(
    source: Source, indices: Indices, share: float, seed: int, key: str
) -> tuple[Indices, Indices]:
    """Divides indices in two, the second of that share; each class is in both."""
    size = round(share * len(indices))
    if not 0 < size < len(indices):
        raise UserError(f"{key}: {len(indices)} samples can't be divided, both parts need one")
    classes = source.targets[indices] if source.classes else None
    if classes is not None:
        counts = np.bincount(classes.astype(np.int64), minlength=len(source.classes))
        if (smallest := counts.min()) < 2 or min(size, len(indices) - size) < len(counts):
            raise UserError(
                f"{key}: class '{source.classes[counts.argmin()]}' has {smallest} samples of "
                f"{len(indices)} to divide into {len(indices) - size} and {size}: "
                "expected enough for one in each split"
            )
    first, second = train_test_split(indices, test_size=size, random_state=seed, stratify=classes)
    if classes is not None:
        for part in (first, second):
            missing = set(range(len(source.classes))) - set(source.targets[part].tolist())
            if missing:
                raise UserError(
                    f"{key}: class '{source.classes[min(missing)]}' has too few samples: "
                    "expected enough for one in each split"
                )
    return np.asarray(first), np.asarray(second)


def hash_samples(source: Source) -> Array:
    """Hashes each input by its bytes (BLAKE2b, 128 bits).

    Returns:
        (N,) of hexadecimal strings.
    """
    return np.array(
        [hashlib.blake2b(x.tobytes(), digest_size=16).hexdigest() for x in source.inputs]
    )


def fingerprint(source: Source, hashes: Array, indices: Indices) -> str:
    """Identifies some samples of a source: SHA-256 over their indices, inputs and targets."""
    digest = hashlib.sha256(indices.astype("<i8").tobytes())
    digest.update("".join(hashes[indices].tolist()).encode())
    digest.update(np.ascontiguousarray(source.targets[indices]).tobytes())
    return digest.hexdigest()


def find_duplicates(hashes: Array, split: Split) -> dict[str, int]:
    """Counts the samples of the first split of a pair whose input is also in the second.

    Returns:
        Counts by ``train_val``, ``train_test`` and ``val_test``.
    """
    return {
        f"{a}_{b}": int(np.isin(hashes[getattr(split, a)], hashes[getattr(split, b)]).sum())
        for a, b in (("train", "val"), ("train", "test"), ("val", "test"))
    }


def drop_duplicates(hashes: Array, split: Split) -> Split:
    """Takes out of train what is also in val or test."""
    elsewhere = hashes[np.concatenate([split.val, split.test])]
    return replace(split, train=split.train[~np.isin(hashes[split.train], elsewhere)])
