"""Splits: sizes, strata, fingerprints, duplicates, and the sealed test set."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from conftest import configure
from hypothesis import given, settings
from hypothesis import strategies as st

from project.config.build import build_data
from project.core.errors import UserError
from project.data.digits import digits
from project.data.module import DataModule
from project.data.ratios import Splits
from project.data.source import Source
from project.data.splits import cut, find_duplicates, hash_samples


def make_source(counts: list[int], num_test: int = 0, seed: int = 0) -> Source:
    random = np.random.default_rng(seed)
    targets = random.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    inputs = random.integers(0, 256, (len(targets), 4, 4, 1)).astype(np.uint8)
    return Source(inputs, targets, tuple("abcdefghij"[: len(counts)]), num_test)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(20, 60), min_size=2, max_size=5), st.integers(0, 1000))
def test_splits_share_nothing_miss_nothing_and_keep_the_strata(
    counts: list[int], seed: int
) -> None:
    source = make_source(counts)
    split = cut(source, Splits(train=0.5, val=0.2, test=0.3, seed=seed))
    parts = [split.train, split.val, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(sum(counts)))
    for part, share in zip(parts, (0.5, 0.2, 0.3), strict=True):
        assert abs(len(part) - share * sum(counts)) <= 1
        actual = Counter(source.targets[part].tolist())
        for label, count in enumerate(counts):
            assert abs(actual[label] - share * count) <= 2


def test_an_official_test_set_stays_as_it_is() -> None:
    source = make_source([70, 70], num_test=40)
    split = cut(source, Splits())
    assert split.test.tolist() == list(range(100, 140))
    assert len(split.val) == 14  # a seventh of the rest, as 10 : 60 says
    assert len(split.train) == 86


def test_the_split_depends_on_its_own_seed_not_on_the_run_s() -> None:
    first, second = (build_data(configure(f"seed={seed}")) for seed in (1, 2))
    assert first.fingerprint == second.fingerprint
    other = build_data(configure("data.splits.seed=1"))
    assert other.fingerprint != first.fingerprint


def test_the_fingerprint_sees_one_changed_pixel_or_label() -> None:
    def fingerprints(source: Source) -> dict[str, str]:
        return DataModule(lambda: source).fingerprints

    source = make_source([40, 40])
    before = fingerprints(source)
    assert before == fingerprints(make_source([40, 40]))
    index = cut(source, Splits()).test[0]
    inputs, targets = source.inputs.copy(), source.targets.copy()
    inputs[index, 0, 0, 0] ^= 1
    after = fingerprints(Source(inputs, targets, source.classes))
    assert [name for name in before if before[name] != after[name]] == ["test"]
    targets[cut(source, Splits()).train[0]] ^= 1
    relabelled = fingerprints(Source(source.inputs, targets, source.classes))
    assert relabelled != before


def test_duplicates_across_splits_are_counted_and_dropped_on_request() -> None:
    source = make_source([60, 60])
    split = cut(source, Splits())
    source.inputs[split.train[:3]] = source.inputs[split.test[0]]
    source.inputs[split.train[3]] = source.inputs[split.val[0]]
    counts = find_duplicates(hash_samples(source), split)
    assert counts == {"train_val": 1, "train_test": 3, "val_test": 0}
    kept = DataModule(lambda: source, drop_duplicates=True)
    assert kept.duplicates == {"train_val": 0, "train_test": 0, "val_test": 0}
    assert len(kept.train) == len(split.train) - 4
    assert set(split.train[:4]).isdisjoint(kept.split.train)


def test_limit_train_keeps_val_and_test_and_the_strata() -> None:
    whole, limited = (DataModule(digits, limit_train=limit) for limit in (None, 100))
    assert len(limited.train) == 100
    assert set(limited.split.train) <= set(whole.split.train)
    assert limited.fingerprints["val"] == whole.fingerprints["val"]
    assert limited.fingerprints["test"] == whole.fingerprints["test"]
    assert set(Counter(limited.train.targets.tolist()).values()) <= {9, 10, 11}


@pytest.mark.parametrize("counts", [[50, 2], [50, 1], [50, 0]])
def test_a_class_too_small_for_the_splits_is_named(counts: list[int]) -> None:
    source = Source(*(lambda s: (s.inputs, s.targets))(make_source(counts)), classes=("a", "b"))
    with pytest.raises(UserError, match=r"data\.splits\.\w+: class 'b' has"):
        cut(source, Splits())


def test_no_test_sample_is_anywhere_until_the_test_set_is_opened() -> None:
    source = digits()
    plain = DataModule(lambda: source)
    poisoned_inputs = source.inputs.copy()
    poisoned_inputs[plain.split.test] = 255 - poisoned_inputs[plain.split.test]
    poisoned = DataModule(partial(Source, poisoned_inputs, source.targets, source.classes))
    # Statistics, loaders and the gap's subset are the same whatever the test samples are.
    assert poisoned.spec == plain.spec
    for ours, theirs in (
        (plain.train, poisoned.train),
        (plain.val, poisoned.val),
        (plain.train_subset, poisoned.train_subset),
    ):
        np.testing.assert_array_equal(ours.inputs, theirs.inputs)
        assert set(ours.indices).isdisjoint(plain.split.test)
        assert ours.inputs.base is None  # a copy: it doesn't keep the whole source alive
    assert plain.fingerprints["test"] != poisoned.fingerprints["test"]
    with pytest.raises(RuntimeError, match="sealed"):
        plain.test_dataloader()
    assert plain.test is None
    samples = plain.open_test()
    np.testing.assert_array_equal(samples.inputs, source.inputs[plain.split.test])
    assert sum(len(targets) for _, targets in plain.test_dataloader()) == len(plain.split.test)


def test_statistics_are_those_of_the_training_split() -> None:
    data = DataModule(digits)
    assert data.spec.mean == pytest.approx((float(data.train.inputs.mean()),))
    assert data.spec.std == pytest.approx((float(data.train.inputs.std()),))
    assert data.spec.shape == (8, 8, 1)
    assert data.spec.num_outputs == 10
    table = build_data(configure("data=diabetes"))
    np.testing.assert_allclose(table.spec.mean, table.train.inputs.mean(0), rtol=1e-5)
    assert table.spec.target_mean == pytest.approx(float(table.train.targets.mean()))
