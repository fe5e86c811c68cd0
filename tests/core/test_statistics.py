"""Intervals, against scipy's own tests."""

import math

import pytest
from scipy import stats

from project.core.statistics import estimate, paired_difference

FIRST, SECOND = [0.91, 0.93, 0.95, 0.92], [0.90, 0.91, 0.95, 0.90]


def test_the_interval_is_that_of_the_t_test() -> None:
    mine = estimate(FIRST)
    theirs = stats.ttest_1samp(FIRST, 0).confidence_interval(0.95)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))
    assert mine.mean == pytest.approx(0.9275)


def test_the_paired_difference_is_that_of_the_paired_t_test() -> None:
    mine = paired_difference(FIRST, SECOND)
    test = stats.ttest_rel(FIRST, SECOND)
    theirs = test.confidence_interval(0.95)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))
    assert mine.excludes_zero == (test.pvalue < 0.05)
    assert paired_difference([1.0, 2.0, 3.0], [0.0, 1.1, 2.0]).excludes_zero


def test_one_seed_decides_nothing_and_equal_ones_neither() -> None:
    alone = estimate([0.9])
    assert math.isnan(alone.low)
    assert not alone.excludes_zero
    assert not paired_difference([1.0, 1.0], [1.0, 1.0]).excludes_zero


@pytest.mark.parametrize("value", [0.0, 0.02, 12490.0])
def test_equal_values_have_an_interval_without_width_and_no_warning(
    value: float, recwarn: pytest.WarningsRecorder
) -> None:
    alike = estimate([value, value + value * 2e-16, value])
    assert alike.low == pytest.approx(value)
    assert alike.high == pytest.approx(value)
    assert not recwarn.list
