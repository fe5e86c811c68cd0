"""A comparison: variants times seeds, claims about them, and a verdict on each."""

from typing import TYPE_CHECKING

from project import make_callable

if TYPE_CHECKING:
    from project.compare.comparison import Comparison


def _compare(*overrides: str) -> "Comparison":
    from project.compare.command import compare_overrides

    return compare_overrides(*overrides)


make_callable(__name__, _compare)
