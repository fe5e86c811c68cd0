"""Lists runs: filtered, sorted, with their best scores."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from rich.markup import escape
from rich.table import Table

from project.core.console import stdout
from project.core.errors import UserError
from project.core.scores import mode_of
from project.core.types import Tags
from project.tracking.find import RunInfo, find_runs
from project.tracking.labels import NOTE, user_tags

ID_LENGTH = 10  # letters of an id that tables show; commands accept that many
COLOURS = {"FINISHED": "green", "RUNNING": "blue", "KILLED": "yellow", "FAILED": "red"}
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def list_runs(
    limit: Annotated[int, Ge(1), Le(10_000)] = 20,
    data: str = "",
    model: str = "",
    since: str = "",
    sort: Literal["started", "score", "time", "name"] = "started",
    tag: Tags | None = None,
) -> list[RunInfo]:
    """Lists runs, newest or best first.

    Args:
        limit: Largest number of runs.
        data: Short name of a data set, such as ``digits``; empty for all.
        model: Short name of a model, such as ``cnn``; empty for all.
        since: Age of the oldest run, such as ``30m``, ``12h``, ``7d`` or ``2w``, or a date such as
            ``2026-01-31``; empty for any.
        sort: Order: newest, best, longest or alphabetically first. Runs with the same kind of
            score stay together.
        tag: Tags that a run must have, such as ``tag.owner=ann``.

    Raises:
        UserError: ``since`` is neither an age nor a date.
    """
    wanted = {**({"data": data} if data else {}), **({"model": model} if model else {})}
    earliest = _read_time(since) if since else None
    runs = find_runs(wanted | dict(tag or {}), earliest, limit if sort == "started" else None)
    if sort != "started":
        runs = sorted(runs, key=KEYS[sort])
    return runs[:limit]


def _score_key(run: RunInfo) -> Any:
    """Runs with a score first, together by its name, the best first."""
    if run.score is None or run.score != run.score:
        return True, "", 0.0
    return False, run.score_name, run.score if mode_of(run.score_name) == "min" else -run.score


KEYS = {
    "score": _score_key,
    "time": lambda run: -run.seconds,
    "name": lambda run: (run.name.lower(), run.started),
}


def _read_time(text: str) -> datetime:
    """The local time of an age or a date."""
    try:
        if match := re.fullmatch(r"(\d{1,6})([mhdw])", text):
            return datetime.now().astimezone() - timedelta(**{UNITS[match[2]]: int(match[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        remedy = "an age such as 30m, 12h, 7d or 2w, or a date such as 2026-01-31"
        raise UserError(f"since: {text}: expected {remedy}") from None


def show(runs: Sequence[RunInfo]) -> None:
    """Prints a table of runs; a nested run names its parent."""
    if not runs:
        print("no such runs yet: run `make train` first, or choose other filters")
        return
    table = Table(box=None, pad_edge=False)
    names = ["run", "status", "name", "model", "data", "val score", "time", "started"]
    notes = [_describe_labels(run) for run in runs]
    if any(notes):
        names.append("tags and note")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in ("run", "status", "started"))
    for run, note in zip(runs, notes, strict=True):
        status = "PRUNED" if "pruned" in run.tags else run.status
        colour = COLOURS.get(status)
        cells = [
            run.id[:ID_LENGTH],
            f"[{colour}]{status}[/]" if colour else status,
            escape(f"{run.name} of {run.parent_name}" if run.parent else run.name),
            run.model,
            escape(run.data),
            "" if run.score is None else f"{run.score_name} {run.score:.4f}",
            format_seconds(run.seconds),
            f"{run.started:%Y-%m-%d %H:%M}",
            escape(note),
        ]
        table.add_row(*cells[: len(names)])
    stdout().print(table)


def _describe_labels(run: RunInfo) -> str:
    """The user's tags and the first line of the note."""
    tags = " ".join(f"{name}={value}" for name, value in sorted(user_tags(run.tags).items()))
    return f"{tags} {run.tags.get(NOTE, '').partition(chr(10))[0]}".strip()


def format_seconds(seconds: float) -> str:
    """A duration in s, min:s or h:min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
