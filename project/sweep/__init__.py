"""An Optuna search: its space, its study, the search itself and its winner."""

from typing import TYPE_CHECKING

from project import make_callable

if TYPE_CHECKING:
    from project.sweep.winner import Winner


def _sweep(*overrides: str) -> "Winner":
    from project.sweep.command import sweep

    return sweep(*overrides)


make_callable(__name__, _sweep)
