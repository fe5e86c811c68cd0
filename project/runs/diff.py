"""Says what differs between two runs: config, code, packages, data and metrics.

Usage: python -m project.runs.diff RUN RUN

  RUN   a run id, its first letters as `make runs` shows them, or last
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from project.cli.command import run_command
from project.core.errors import UserError

ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """What differs between two runs; what is equal is left out.

    Attributes:
        runs: their ids.
        config: both values, by flat key.
        code: both commits; and files with uncommitted changes that differ.
        packages: both versions, by name.
        data: both fingerprints, by split.
        metrics: both values, by name.
    """

    runs: tuple[str, str]
    config: Mapping[str, tuple[str, str]]
    code: Mapping[str, tuple[str, str]]
    packages: Mapping[str, tuple[str, str]]
    data: Mapping[str, tuple[str, str]]
    metrics: Mapping[str, tuple[str, str]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.config or self.code or self.packages or self.data or self.metrics)


def diff(first: str, second: str) -> Difference:
    """Compares two runs.

    Args:
        first: a run id, its beginning, or ``last``.
        second: another.

    Raises:
        UserError: there is no such run.
    """
    from project.tracking.listing import describe_run
    from project.tracking.run import find_run

    runs = find_run(first, "runs"), find_run(second, "runs")
    a, b = (describe_run(run) for run in runs)
    files = [changed_files(each.changes) for each in (a, b)]
    marks = [{file: f"changes {hash_text(text)}" for file, text in each.items()} for each in files]
    return Difference(
        runs=(runs[0].id, runs[1].id),
        config=_compare(a.config, b.config),
        code=_compare({"commit": a.commit, **marks[0]}, {"commit": b.commit, **marks[1]}),
        packages=_compare(a.packages, b.packages),
        data=_compare(a.fingerprints, b.fingerprints),
        metrics=_compare(a.metrics, b.metrics),
    )


def changed_files(changes: str) -> dict[str, str]:
    """The part of a git diff that is about each file, by its name."""
    parts = re.split(r"^(?=diff --git )", changes, flags=re.M)
    return {part.splitlines()[0].partition(" b/")[2]: part for part in parts if part.strip()}


def hash_text(text: str) -> str:
    """A short name for a text, to see whether two are the same."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _compare(
    first: Mapping[str, object], second: Mapping[str, object]
) -> dict[str, tuple[str, str]]:
    found = {}
    for key in dict.fromkeys([*first, *second]):
        a, b = first.get(key, ABSENT), second.get(key, ABSENT)
        if a != b and not (a != a and b != b):  # NaN is not itself
            found[key] = (str(a), str(b))
    return found


def main(arguments: Sequence[str]) -> None:
    """Prints what differs between the two runs of a command line."""
    if len(arguments) != 2:
        given = " ".join(arguments) or "nothing"
        raise UserError(f'runs: {given}: expected two runs, as in make diff RUNS="<id> <id>"')
    _show(diff(*arguments))


def _show(difference: Difference) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from project.runs.list import ID_LENGTH

    console = Console()
    if not console.is_terminal:
        console = Console(width=400)
    names = [run[:ID_LENGTH] for run in difference.runs]
    if difference.is_empty:
        print(f"{names[0]} and {names[1]}: the same config, code, packages, data and metrics")
        return
    for title in ("config", "code", "packages", "data", "metrics"):
        pairs: Mapping[str, tuple[str, str]] = getattr(difference, title)
        if not pairs:
            print(f"{title}: the same")
            continue
        columns = [title, *names, *(["difference"] if title == "metrics" else [])]
        table = Table(*columns, box=None, pad_edge=False)
        for key, pair in pairs.items():
            cells = [escape(text[:12] if title in ("code", "data") and " " not in text else text)
                     for text in pair]  # fmt: skip
            table.add_row(escape(key), *cells, *(_subtract(pair) if title == "metrics" else []))
        console.print(table)


def _subtract(pair: Iterable[str]) -> list[str]:
    try:
        first, second = map(float, pair)
    except ValueError:
        return [""]
    return [f"{second - first:+.6g}"]


if __name__ == "__main__":
    run_command(main, __doc__)
