"""What is claimed of a comparison, and whether the runs bear it out."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from project.core.errors import UserError, nearest
from project.core.statistics import Estimate, estimate, paired_difference

MIN_SEEDS = 3
Status = Literal["holds", "does not hold", "undecided"]
TESTS = {
    True: "paired t-test over seeds",
    False: "one-sample t-test over seeds",
}


@dataclass(frozen=True)
class Claim:
    """Such as ``val/accuracy: cnn > mlp``, or ``difference: line < 0.001``.

    Attributes:
        text: as it was written.
        metric: that is compared.
        first: variant.
        second: variant, or a number.
        is_greater: whether the first is claimed to be the greater.
    """

    text: str
    metric: str
    first: str
    second: str | float
    is_greater: bool

    @property
    def variants(self) -> list[str]:
        """Those that it is about."""
        return [name for name in (self.first, self.second) if isinstance(name, str)]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: that was judged.
        status: ``holds`` or ``does not hold`` if the interval lies on one side of zero.
        difference: first minus second, with its 95 % interval; None without a common seed.
        num_seeds: that both have.
        reason: why it is undecided.
    """

    claim: Claim
    status: Status
    difference: Estimate | None
    num_seeds: int
    reason: str = ""

    def __str__(self) -> str:
        text = f"{self.status}: {self.claim.text}"
        details = []
        if self.difference is not None:
            details.append(f"difference {self.difference.mean:+.4g}")
            if not math.isnan(self.difference.low):
                details.append(
                    f"95 % interval {self.difference.low:+.4g} to {self.difference.high:+.4g}"
                )
        details.append(self.reason or f"{self.test}, n = {self.num_seeds}")
        return f"{text} ({', '.join(details)})"

    @property
    def test(self) -> str:
        """By which it was judged."""
        return TESTS[isinstance(self.claim.second, str)]


def parse_claim(text: str, variants: Sequence[str], metrics: Sequence[str]) -> Claim:
    """Parses a claim.

    Args:
        text: ``metric: variant > variant``, or a number for the second.
        variants: that there are.
        metrics: that are measured.

    Raises:
        UserError: it isn't like that, or names what there isn't.
    """
    match = re.fullmatch(r"\s*([^:<>]+?)\s*:\s*([^<>]+?)\s*([<>])\s*([^<>]+?)\s*", text)
    if match is None:
        raise UserError(f"claims: {text}: expected such as 'val/accuracy: cnn > mlp'")
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
        raise UserError(f"claims: {text}: expected two variants")
    return Claim(text.strip(), metric, first, other, sign == ">")


def judge(claim: Claim, values: Mapping[str, Mapping[int, float]], num_asked: int) -> Verdict:
    """Judges a claim by the 95 % interval of the difference, paired by seed.

    Args:
        claim: to be judged.
        values: of its metric: by variant and seed.
        num_asked: seeds that were asked for.
    """
    first = values[claim.first]
    if isinstance(claim.second, str):
        second: Mapping[int, float] = values[claim.second]
    else:
        second = dict.fromkeys(first, claim.second)
    common = sorted(first.keys() & second.keys())
    if not common:
        return Verdict(claim, "undecided", None, 0, "no run was measured")
    difference = paired_difference([first[s] for s in common], [second[s] for s in common])
    count = len(common)
    if count < num_asked:
        reason = f"{num_asked - count} of {num_asked} seeds have no value"
        return Verdict(claim, "undecided", difference, count, reason)
    if count < MIN_SEEDS:
        reason = f"from {count} of at least {MIN_SEEDS} seeds nobody can tell"
        return Verdict(claim, "undecided", difference, count, reason)
    if not difference.excludes_zero:
        return Verdict(claim, "undecided", difference, count)
    holds = (difference.mean > 0) == claim.is_greater
    return Verdict(claim, "holds" if holds else "does not hold", difference, count)


def summary(values: Mapping[int, float]) -> Estimate:
    """Mean over seeds, with its 95 % interval."""
    return estimate(list(values.values()))
