"""Exceptions that end a command, and the parts that error messages share."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in a command, a config or a file; the command prints it and exits with 2."""


class TrainingError(Exception):
    """A run that can't continue, such as one whose loss is NaN; it is FAILED, exit code 1."""


class Pruned(Exception):
    """A run ended early because others do better; it is KILLED and tagged ``pruned``."""


def nearest(wrong: str, known: Iterable[str]) -> str:
    """End of a message on an unknown name: ``did you mean 'x'?`` or ``expected one of x, y``."""
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"expected one of {', '.join(names)}"


def one_line(error: BaseException) -> str:
    """The message of an exception without line breaks."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its type if there is none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
