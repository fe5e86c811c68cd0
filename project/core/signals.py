"""SIGINT and SIGTERM as an exception that closes a run before the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """SIGINT or SIGTERM; no KeyboardInterrupt, because Lightning exits the process on that."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


_deferred: list[int] | None = None  # signals received inside `defer_stop_signals`, else None


@contextmanager
def defer_stop_signals() -> Iterator[None]:
    """Defers SIGINT and SIGTERM until the block exits, so that the block runs as a unit."""
    global _deferred
    _deferred = []
    try:
        yield
    finally:
        received, _deferred = _deferred, None
    if received:
        raise Stopped(received[0])


def raise_when_stopped() -> dict[signal.Signals, Any]:
    """Makes the first SIGINT or SIGTERM raise ``Stopped``; returns the previous handlers."""
    is_stopped = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal is_stopped
        if not is_stopped:  # a second Ctrl-C must not interrupt the clean-up after the first
            is_stopped = True
            if _deferred is None:
                raise Stopped(signum)
            _deferred.append(signum)

    return {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises ``Stopped`` on SIGINT or SIGTERM; does nothing outside the main thread."""
    is_main = threading.current_thread() is threading.main_thread()
    previous = raise_when_stopped() if is_main else {}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
