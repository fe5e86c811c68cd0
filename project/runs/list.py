"""Lists the latest runs in the terminal.

Usage: python -m project.runs.list [limit=20]
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from project.cli.command import run_command
from project.core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from project.tracking.listing import Listed

ID_LENGTH = 10  # letters of an id that are shown; the commands take as many
COLOURS = {"FINISHED": "green", "RUNNING": "blue", "KILLED": "yellow", "FAILED": "red"}


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    limit = 20
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key != "limit" or not value.isdecimal() or not 0 < int(value) <= 10_000:
            raise UserError(f"{argument}: expected limit=<number from 1 to 10000>")
        limit = int(value)
    from rich.console import Console

    from project.tracking.listing import list_runs

    runs = list_runs(limit)
    if not runs:
        print("there is no run yet: `make train` makes one")
        return
    console = Console()
    if not console.is_terminal:  # a file or a pipe takes lines of any length
        console = Console(width=400)
    console.print(tabulate(runs))


def tabulate(runs: Sequence["Listed"]) -> "Table":
    """A table of runs; what is nested under another says so."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("run", "status", "name", "model", "data", "val score", "time", "started"):
        table.add_column(name, overflow="fold", no_wrap=name in ("run", "status", "started"))
    for run in runs:
        score = "" if run.score is None else f"{run.score_name} {run.score:.4f}"
        colour = COLOURS.get(run.status, "")
        table.add_row(
            run.id[:ID_LENGTH],
            f"[{colour}]{run.status}[/]" if colour else run.status,
            escape(f"{run.name} of {run.parent}" if run.parent else run.name),
            run.model,
            escape(run.data),
            score,
            say_seconds(run.seconds),
            f"{run.started:%Y-%m-%d %H:%M}",
        )
    return table


def say_seconds(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"


if __name__ == "__main__":
    run_command(main, __doc__)
