"""Confidence intervals: Student's t for a mean over seeds, Wilson for a proportion."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % confidence interval, whose ends are NaN for a single value."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero; False for a single value."""
        return self.low > 0 or self.high < 0


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval (Student's t, https://doi.org/10.1093/biomet/6.1.1)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    with warnings.catch_warnings():  # of equal values, whose interval has no width
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = stats.ttest_1samp(values, 0).confidence_interval(LEVEL)
    return Estimate(mean, float(interval.low), float(interval.high))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of first minus second, seed by seed, with the interval of the paired t-test."""
    return estimate([a - b for a, b in zip(first, second, strict=True)])


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a proportion (Wilson, https://doi.org/10.2307/2276774)."""
    interval = stats.binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)
