"""Which way the scores go by which epochs, trials and runs are compared."""

from typing import Literal

Mode = Literal["min", "max"]
MINIMISED = ("loss", "rmse", "mae", "mape")


def mode_of(score: str) -> Mode:
    """Whether lower or higher values of a score on val, such as ``rmse``, are better."""
    return "min" if score in MINIMISED else "max"
