"""Claims about a comparison, and the verdict that its runs give on each."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from project.core.errors import UserError, nearest
from project.core.statistics import Estimate, estimate

MIN_SEEDS = 3


@dataclass(frozen=True)
class Claim:
    """A claim such as ``val/accuracy: cnn > mlp``, or ``closed_form/difference: line < 0.001``."""

    text: str
    metric: str
    first: str
    second: str | float  # variant or number
    is_greater: bool


@dataclass(frozen=True)
class Verdict:
    """The judgement of a claim; it is decided if the interval lies on one side of zero."""

    claim: Claim
    status: str  # ``holds``, ``does not hold`` or ``undecided``
    difference: Estimate  # first minus second; NaN without a common seed
    num_seeds: int  # seeds with a value on both sides
    reason: str  # why too few runs leave the claim undecided; empty if there are enough

    def __str__(self) -> str:
        details, low, high = [], self.difference.low, self.difference.high
        if self.num_seeds:
            details.append(f"difference {self.difference.mean:+.4g}")
        if not math.isnan(low):
            details.append(f"95 % interval {low:+.4g} to {high:+.4g}")
        test = "paired" if isinstance(self.claim.second, str) else "one-sample"
        details.append(self.reason or f"{test} t-test over seeds, n = {self.num_seeds}")
        return f"{self.status}: {self.claim.text} ({', '.join(details)})"


def parse_claim(text: str, variants: Sequence[str], metrics: Sequence[str]) -> Claim:
    """Parses ``metric: variant > variant``, or a number on the right; ``<`` works too."""
    match = re.fullmatch(r"\s*([^:<>]+?)\s*:\s*([^<>]+?)\s*([<>])\s*([^<>]+?)\s*", text)
    if match is None:
        raise UserError(f"claims: {text}: expected a form such as 'val/accuracy: cnn > mlp'")
    metric, first, sign, second = match.groups()
    if metric not in metrics:
        raise UserError(f"claims: {text}: {metric}: {nearest(metric, metrics)} (see measure)")
    if metric.startswith("test/"):
        raise UserError(f"claims: {text}: expected a metric that isn't of the test set")
    other: str | float = second
    if second not in variants:
        try:
            other = float(second)
        except ValueError:
            raise UserError(f"claims: {text}: {second}: {nearest(second, variants)}") from None
        if not math.isfinite(other):
            raise UserError(f"claims: {text}: {second}: expected a finite number")
    if first not in variants:
        raise UserError(f"claims: {text}: {first}: {nearest(first, variants)}")
    if first == other:
        raise UserError(f"claims: {text}: expected two different variants")
    return Claim(text.strip(), metric, first, other, sign == ">")


def judge(claim: Claim, values: Mapping[str, Mapping[int, float]], num_seeds: int) -> Verdict:
    """Judges a claim by the 95 % interval of the difference, paired by seed.

    ``values`` are those of its metric, by variant and seed; ``num_seeds`` seeds were planned.
    """
    first, other = values[claim.first], claim.second
    second = values[other] if isinstance(other, str) else dict.fromkeys(first, other)
    common = sorted(first.keys() & second.keys())
    difference = estimate([first[seed] - second[seed] for seed in common] or [math.nan])
    status, reason = "undecided", ""
    if not common:
        reason = "no run was measured"
    elif len(common) < num_seeds:
        reason = f"{num_seeds - len(common)} of {num_seeds} seeds have no value"
    elif len(common) < MIN_SEEDS:
        reason = f"at least {MIN_SEEDS} seeds are needed to tell"
    if difference.excludes_zero and not reason:
        status = "holds" if (difference.mean > 0) == claim.is_greater else "does not hold"
    return Verdict(claim, status, difference, len(common), reason)
