"""Cuts a data set into train, val and test, and fingerprints what is where."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from project.core.arrays import Array, Indices
from project.core.errors import UserError
from project.data.ratios import SPLITS, Splits
from project.data.source import Source

PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))


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

    Samples of one group come into one split. Where samples have times, train is the earliest of
    them and test the latest, and those of one time come into one split.

    Args:
        source: the whole data set.
        splits: ratios and seed.
        limit_train: keep only so many training samples (stratified); None keeps all.

    Raises:
        UserError: a class or the whole is too small to be in each split.
    """
    num_samples = len(source.targets)
    num_official = source.num_test + source.num_val
    bounds = [num_samples - num_official, num_samples - source.num_test]
    if source.classes and not num_official and source.times is None:
        counts = np.bincount(source.targets, minlength=len(source.classes))
        if (smallest := counts.min()) < len(SPLITS):
            raise UserError(
                f"data.splits.test: class '{source.classes[counts.argmin()]}' has {smallest} "
                f"sample{'' if smallest == 1 else 's'}: expected at least {len(SPLITS)}, one for "
                "each split"
            )
    rest, val, test = np.split(np.arange(num_samples), bounds)
    if not source.num_test:
        share = splits.test if not source.num_val else splits.test / (splits.train + splits.test)
        rest, test = _divide(source, rest, share, splits.seed, "data.splits.test")
    if not source.num_val:
        share = splits.val / (splits.train + splits.val)
        rest, val = _divide(source, rest, share, splits.seed, "data.splits.val")
    _check_classes(source, rest, "train")
    if source.times is None:
        for name, part, official in (
            ("val", val, source.num_val),
            ("test", test, source.num_test),
        ):
            if not official:
                _check_classes(source, part, name)
    if limit_train is not None and limit_train < len(rest):
        share = 1 - limit_train / len(rest)
        whole = replace(source, groups=None, times=None)  # of train, any samples will do
        rest, _ = _divide(whole, rest, share, splits.seed, "data.limit_train")
        _check_classes(source, rest, "train", "data.limit_train")
    split = Split(np.sort(rest), np.sort(val), np.sort(test))
    if source.task == "regression" and min(len(val), len(test)) < 2:
        raise UserError("data.splits: val or test has 1 sample: regression needs at least 2")
    if source.groups is not None:
        _check_groups(source, split)
    return split


def _divide(
    source: Source, indices: Indices, share: float, seed: int, key: str
) -> tuple[Indices, Indices]:
    """Divides indices in two, the second of that share."""
    size = round(share * len(indices))
    if not 0 < size < len(indices):
        raise UserError(f"{key}: {len(indices)} samples can't be divided, both parts need one")
    if source.times is not None:
        return _divide_by_time(source.times, indices, size, key)
    classes = source.targets[indices] if source.classes else None
    if classes is not None and source.groups is None:
        counts = np.bincount(classes.astype(np.int64), minlength=len(source.classes))
        if (smallest := counts.min()) < 2 or min(size, len(indices) - size) < len(counts):
            raise UserError(
                f"{key}: class '{source.classes[counts.argmin()]}' has {smallest} samples of "
                f"{len(indices)} to divide into {len(indices) - size} and {size}: "
                "expected enough for one in each split"
            )
    if source.groups is not None:
        return _divide_by_group(source.groups[indices], classes, indices, share, seed, key)
    first, second = train_test_split(indices, test_size=size, random_state=seed, stratify=classes)
    return np.asarray(first), np.asarray(second)


def _divide_by_time(times: Array, indices: Indices, size: int, key: str) -> tuple[Indices, Indices]:
    order = indices[np.argsort(times[indices], kind="stable")]
    sorted_times = times[order]
    # The whole of the time at which the second part begins goes with it.
    begin = int(np.searchsorted(sorted_times, sorted_times[len(order) - size]))
    if begin == 0:
        raise UserError(
            f"{key}: data.time_column: too many samples are of one time: expected more times"
        )
    return order[:begin], order[begin:]


def _divide_by_group(
    groups: Array, classes: Array | None, indices: Indices, share: float, seed: int, key: str
) -> tuple[Indices, Indices]:
    """Of many ways to share out the groups, that whose sizes and classes are most in proportion."""
    if len(np.unique(groups)) < 2:
        raise UserError(f"{key}: data.group_by: one group can't be divided: expected more groups")
    columns = np.zeros(len(indices), dtype=np.int64) if classes is None else classes
    totals = np.bincount(columns)
    present = totals > 0

    def imbalance(second: Indices) -> float:
        counts = np.bincount(columns[second], minlength=len(totals))
        return float(np.abs(counts[present] / totals[present] - share).max())

    ways = GroupShuffleSplit(n_splits=200, test_size=share, random_state=seed)
    first, second = min(ways.split(indices, groups=groups), key=lambda way: imbalance(way[1]))
    return indices[first], indices[second]


def _check_classes(source: Source, part: Indices, name: str, key: str = "") -> None:
    missing = set(range(len(source.classes))) - set(source.targets[part].tolist())
    if not missing:
        return
    expected = "expected enough samples of it for one in each split"
    if source.times is not None:
        key, expected = key or "data.time_column", "expected some of it among the earliest samples"
    elif source.groups is not None:
        key, expected = key or "data.group_by", "expected it in more groups"
    elif source.num_val or source.num_test:
        key, expected = key or "data", "expected some of it"
    raise UserError(
        f"{key or f'data.splits.{name}'}: class '{source.classes[min(missing)]}' isn't in {name}: "
        f"{expected}"
    )


def _check_groups(source: Source, split: Split) -> None:
    """Official splits may have torn groups apart."""
    assert source.groups is not None
    for a, b in PAIRS:
        first, second = getattr(split, a), getattr(split, b)
        torn = first[np.isin(source.groups[first], source.groups[second])]
        if len(torn):
            sample = f"'{source.names[torn[0]]}'" if source.names else f"sample {torn[0] + 1}"
            raise UserError(
                f"data.group_by: {sample} is in {a}, others of its group are in {b}: expected each "
                "group in one split"
            )


def hash_input(sample: Array) -> str:
    """Hashes an input by its bytes (BLAKE2b, 128 bits, hexadecimal)."""
    return hashlib.blake2b(sample.tobytes(), digest_size=16).hexdigest()


def hash_samples(source: Source) -> Array:
    """Hashes each input, if the source has not done so.

    Returns:
        (N,) of hexadecimal strings.
    """
    if source.hashes is not None:
        return source.hashes
    return np.array([hash_input(sample) for sample in source.inputs[:]])


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
        for a, b in PAIRS
    }


def describe_duplicates(counts: Mapping[str, int]) -> Iterator[str]:
    """One line per pair of splits with duplicates, with the remedy."""
    for pair, count in counts.items():
        if count:
            first, second = pair.split("_")
            remedy = "; data.drop_duplicates=true removes them" if first == "train" else ""
            yield f"{count} samples of {first} are also in {second}{remedy}"


def drop_duplicates(hashes: Array, split: Split) -> Split:
    """Removes training samples whose input is also in val or test.

    Raises:
        UserError: No training sample is left.
    """
    elsewhere = hashes[np.concatenate([split.val, split.test])]
    train = split.train[~np.isin(hashes[split.train], elsewhere)]
    if not len(train):
        raise UserError(
            "data.drop_duplicates: True: every training sample is also in val or test: expected "
            "False"
        )
    return replace(split, train=train)
