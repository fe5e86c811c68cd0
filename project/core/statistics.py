"""How sure a mean over seeds is: Student's t intervals, alone and paired."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and how far it can be trusted.

    Attributes:
        mean: over the seeds.
        low: lower end of the 95 % interval; NaN for a single value.
        high: upper end.
    """

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
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values))
    return Estimate(mean, mean - half, mean + half)


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share (Wilson, https://doi.org/10.2307/2276774)."""
    found = stats.binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """First minus second, seed by seed: the interval belonging to the paired t-test."""
    return estimate([a - b for a, b in zip(first, second, strict=True)])
