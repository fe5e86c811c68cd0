"""Cuts a data set into train, val and test, and fingerprints each of them."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from project.core.arrays import Array, Indices
from project.core.errors import UserError
from project.data.ratios import SPLITS, Splits
from project.data.source import Source

Pair = tuple[Indices, Indices]


@dataclass(frozen=True)
class Split:
    """The samples of each split, as sorted indices into the source."""

    train: Indices
    val: Indices
    test: Indices


def cut(source: Source, splits: Splits, limit_train: int | None = None) -> Split:
    """Draws the splits that are not official; stratified where the targets are classes.

    A group stays in one split. If samples have times, train is the earliest part and test the
    latest, and samples of the same time stay in one split. ``limit_train`` samples of train stay.
    """
    first_val = len(source.targets) - source.num_test - source.num_val
    bounds = [first_val, first_val + source.num_val]
    train, val, test = np.split(np.arange(len(source.targets)), bounds)
    if source.classes and source.times is None and not (source.num_val or source.num_test):
        counts = np.bincount(source.targets, minlength=len(source.classes))
        if (smallest := counts.min()) < len(SPLITS):
            samples = f"{smallest} sample{'' if smallest == 1 else 's'}: expected at least 3"
            reason = f"class '{source.classes[counts.argmin()]}' has {samples}, one per split"
            raise UserError(f"data.splits.test: {reason}")
    if not source.num_test:
        share = splits.test / (splits.train + splits.test) if source.num_val else splits.test
        train, test = _divide(source, train, share, splits.seed, "data.splits.test")
        _check_classes(source, test, "test")
    if not source.num_val:
        share = splits.val / (splits.train + splits.val)
        train, val = _divide(source, train, share, splits.seed, "data.splits.val")
        _check_classes(source, val, "val")
    _check_classes(source, train, "train")
    if limit_train is not None and limit_train < len(train):
        share = 1 - limit_train / len(train)
        ungrouped = replace(source, groups=None, times=None)  # any samples of train will do
        train, _ = _divide(ungrouped, train, share, splits.seed, "data.limit_train")
        _check_classes(source, train, "train", "data.limit_train")
    if source.task == "regression" and min(len(val), len(test)) < 2:
        raise UserError("data.splits: val or test has 1 sample: expected 2 or more to regress")
    split = Split(np.sort(train), np.sort(val), np.sort(test))
    _check_groups(source, split)
    return split


def _divide(source: Source, indices: Indices, share: float, seed: int, key: str) -> Pair:
    """Divides indices in two; ``share`` is that of the second part."""
    size = round(share * len(indices))
    if not 0 < size < len(indices):
        raise UserError(f"{key}: {len(indices)} samples can't be divided in two: expected more")
    if source.times is not None:
        order = indices[np.argsort(source.times[indices], kind="stable")]
        times = source.times[order]
        # All samples of the time at which the second part begins belong to it.
        begin = int(np.searchsorted(times, times[-size]))
        if begin == 0:
            reason = "too many samples have the same time: expected more times"
            raise UserError(f"{key}: data.time_column: {reason}")
        return order[:begin], order[begin:]
    classes = source.targets[indices] if source.classes else None
    if source.groups is not None:
        groups = source.groups[indices]
        if len(np.unique(groups)) < 2:
            reason = "one group can't be divided: expected more groups"
            raise UserError(f"{key}: data.group_by: {reason}")
        first, second = _divide_groups(groups, classes, share, seed)
        return indices[first], indices[second]
    if classes is not None:
        counts = np.bincount(classes, minlength=len(source.classes))
        if (smallest := counts.min()) < 2 or min(size, len(indices) - size) < len(counts):
            reason = f"class '{source.classes[counts.argmin()]}' has {smallest} samples"
            sizes = f"of {len(indices)} to divide into {len(indices) - size} and {size}"
            raise UserError(f"{key}: {reason} {sizes}: expected at least one per split")
    first, second = train_test_split(indices, test_size=size, random_state=seed, stratify=classes)
    return first, second


def _divide_groups(groups: Array, classes: Array | None, share: float, seed: int) -> Pair:
    """Divides whole groups; of 200 draws, the one whose class counts are nearest to the share."""
    labels = np.zeros(len(groups), dtype=np.int64) if classes is None else classes
    _, labels, totals = np.unique(labels, return_inverse=True, return_counts=True)

    def imbalance(draw: Pair) -> float:
        counts = np.bincount(labels[draw[1]], minlength=len(totals))
        return float(np.abs(counts / totals - share).max())

    draws = GroupShuffleSplit(n_splits=200, test_size=share, random_state=seed)
    best: Pair = min(draws.split(labels, groups=groups), key=imbalance)
    return best


def _check_classes(source: Source, part: Indices, name: str, key: str = "") -> None:
    missing = np.setdiff1d(np.arange(len(source.classes)), source.targets[part])
    # Val and test may be too early or too late for a class.
    if not len(missing) or (source.times is not None and name != "train"):
        return
    cause, expected = f"data.splits.{name}", "expected more samples of it, or other splits"
    if source.times is not None:
        cause, expected = "data.time_column", "expected samples of it among the earliest"
    elif source.groups is not None:
        cause, expected = "data.group_by", "expected samples of it in more groups"
    elif source.num_val or source.num_test:
        cause, expected = "data", f"expected samples of every class in {name}"
    first = source.classes[missing[0]]
    raise UserError(f"{key or cause}: class '{first}' is missing from {name}: {expected}")


def _check_groups(source: Source, split: Split) -> None:
    """Checks that no group is in two splits, as it may be with official ones."""
    if source.groups is None:
        return
    for (a, first), (b, second) in combinations(vars(split).items(), 2):
        torn = first[np.isin(source.groups[first], source.groups[second])]
        if len(torn):
            sample = f"'{source.names[torn[0]]}'" if source.names else f"sample {torn[0] + 1}"
            reason = f"{sample} is in {a}, others of its group are in {b}"
            raise UserError(f"data.group_by: {reason}: expected each group in one split")


def hash_input(sample: Array) -> str:
    """The hash of an input's bytes (BLAKE2b, 128 bits, hexadecimal)."""
    return hashlib.blake2b(sample.tobytes(), digest_size=16).hexdigest()


def hash_samples(source: Source) -> Array:
    """The hash of each input, (N,) texts, computed unless the source brings them."""
    if source.hashes is not None:
        return source.hashes
    return np.array([hash_input(sample) for sample in source.inputs[:]])


def fingerprint(source: Source, hashes: Array, indices: Indices) -> str:
    """SHA-256 over the indices, inputs and targets of some samples."""
    digest = hashlib.sha256(indices.astype("<i8").tobytes())
    digest.update("".join(hashes[indices].tolist()).encode())
    digest.update(np.ascontiguousarray(source.targets[indices]).tobytes())
    return digest.hexdigest()


def find_duplicates(hashes: Array, split: Split) -> dict[str, int]:
    """Counts samples of one split whose input is also in another, by ``train_val`` and so on."""
    return {
        f"{a}_{b}": int(np.isin(hashes[first], hashes[second]).sum())
        for (a, first), (b, second) in combinations(vars(split).items(), 2)
    }


def describe_duplicates(counts: Mapping[str, int]) -> Iterator[str]:
    """One line per pair of splits that share samples, with the remedy."""
    for pair, count in counts.items():
        if count:
            first, second = pair.split("_")
            remedy = "; data.drop_duplicates=true removes them" if first == "train" else ""
            yield f"{count} samples of {first} are also in {second}{remedy}"


def without_duplicates(hashes: Array, split: Split) -> Split:
    """The split without training samples whose input is also in val or test."""
    elsewhere = hashes[np.concatenate([split.val, split.test])]
    train = split.train[~np.isin(hashes[split.train], elsewhere)]
    if not len(train):
        raise UserError("data.drop_duplicates: True: no training sample is left: expected False")
    return replace(split, train=train)
