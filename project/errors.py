"""What ends a command early, and how it is said."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from types import FrameType
from typing import Any


class UserError(Exception):
    """A mistake in a command, a config or a file; the command prints it and exits with 2."""


class TrainingError(Exception):
    """A run that can't go on, such as a loss that is NaN; the run is FAILED, exit code 1."""


class Pruned(Exception):
    """A run that was ended early because others do better; the run is KILLED, tagged ``pruned``."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM; the run is KILLED and can be resumed.

    Not a KeyboardInterrupt, which Lightning answers by leaving the process.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


_held_back: list[int] | None = None  # signals that came in `stops_held_back`; None outside of it


@contextmanager
def stops_held_back() -> Iterator[None]:
    """Raises ``Stopped`` only when the context ends: for what must be done whole or not at all."""
    global _held_back
    _held_back = []
    try:
        yield
    finally:
        came, _held_back = _held_back, None
    if came:
        raise Stopped(came[0])


def raise_when_stopped() -> dict[signal.Signals, Any]:
    """Lets SIGINT and SIGTERM raise ``Stopped``, once; returns the handlers that did so before."""
    is_stopped = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal is_stopped
        if not is_stopped:  # what follows is the clean-up, which a second Ctrl-C must not break
            is_stopped = True
            if _held_back is None:
                raise Stopped(signum)
            _held_back.append(signum)

    return {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises ``Stopped`` where SIGINT or SIGTERM arrives; does nothing off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = raise_when_stopped()
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Says which names are known, or only the most similar if one is close.

    Args:
        wrong: what was given.
        known: what could have been given.

    Returns:
        The end of an error message: ``did you mean 'x'?`` or ``expected one of x, y, z``.
    """
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"expected one of {', '.join(names)}"
