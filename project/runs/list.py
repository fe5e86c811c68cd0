"""Lists the latest runs."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Le
from rich.markup import escape
from rich.table import Table

from project.core.console import stdout
from project.tracking.find import RunInfo, latest_runs

ID_LENGTH = 10  # letters of an id that tables show; commands accept that many
COLOURS = {"FINISHED": "green", "RUNNING": "blue", "KILLED": "yellow", "FAILED": "red"}


def list_runs(limit: Annotated[int, Ge(1), Le(10_000)] = 20) -> list[RunInfo]:
    """Lists the latest runs, newest first.

    Args:
        limit: Largest number of runs.
    """
    return latest_runs(limit)


def show(runs: Sequence[RunInfo]) -> None:
    """Prints a table of runs; a nested run names its parent."""
    if not runs:
        print("no runs yet: run `make train` first")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "status", "name", "model", "data", "val score", "time", "started"):
        table.add_column(name, overflow="fold", no_wrap=name in ("run", "status", "started"))
    for run in runs:
        status = "PRUNED" if "pruned" in run.tags else run.status
        colour = COLOURS.get(status)
        table.add_row(
            run.id[:ID_LENGTH],
            f"[{colour}]{status}[/]" if colour else status,
            escape(f"{run.name} of {run.parent_name}" if run.parent else run.name),
            run.model,
            escape(run.data),
            "" if run.score is None else f"{run.score_name} {run.score:.4f}",
            format_seconds(run.seconds),
            f"{run.started:%Y-%m-%d %H:%M}",
        )
    stdout().print(table)


def format_seconds(seconds: float) -> str:
    """A duration in s, min:s or h:min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
