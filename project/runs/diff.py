"""Compares two runs: config, code, packages, data and metrics."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from project.config.check import flatten
from project.core.console import stdout
from project.core.types import RunId
from project.runs.list import ID_LENGTH
from project.tracking.find import find_run
from project.tracking.lineage import parse_packages
from project.tracking.run import Run

ABSENT = "-"
Pairs = Mapping[str, tuple[str, str]]  # both values, by name


@dataclass(frozen=True)
class Difference:
    """Both values of everything that differs between two runs.

    Attributes:
        runs: Ids of the two runs.
        config: Config values by flat key.
        code: Commits; and hashes of uncommitted changes by file.
        packages: Package versions by name.
        data: Fingerprints by split.
        metrics: Metrics on val and test by name.
    """

    runs: tuple[str, str]
    config: Pairs
    code: Pairs
    packages: Pairs
    data: Pairs
    metrics: Pairs

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.config or self.code or self.packages or self.data or self.metrics)


def diff(first: RunId, second: RunId) -> Difference:
    """Compares two runs: config, code, packages, data and metrics.

    Args:
        first: First run: its id, the first letters of it, or ``last``.
        second: Second run.

    Raises:
        UserError: A run is unknown, or was stopped before it logged its config.
    """
    runs = find_run(first, "first"), find_run(second, "second")

    def compare(read: Callable[[Run], Mapping[str, object]]) -> Pairs:
        return _compare(*map(read, runs))

    return Difference(
        runs=(runs[0].id, runs[1].id),
        config=compare(lambda run: flatten(run.stored_config())),
        code=compare(_read_code),
        packages=compare(lambda run: parse_packages(run.read_text("requirements.txt"))),
        data=compare(lambda run: json.loads(run.read_text("split.json") or "{}").get("sha256", {})),
        metrics=compare(_read_metrics),
    )


def show(difference: Difference) -> None:
    """Prints a table for each part that differs."""
    names = [run[:ID_LENGTH] for run in difference.runs]
    if difference.is_empty:
        print(f"{names[0]} and {names[1]}: the same config, code, packages, data and metrics")
        return
    for title in ("config", "code", "packages", "data", "metrics"):
        pairs: Pairs = getattr(difference, title)
        if not pairs:
            print(f"{title}: the same")
            continue
        table = Table(title, *names, box=None, pad_edge=False)
        if title == "metrics":
            table.add_column("difference")
        for key, pair in pairs.items():
            is_hash = title in ("code", "data")
            cells = [text[:12] if is_hash and " " not in text else text for text in pair]
            if title == "metrics":
                cells.append(_subtract(pair))
            table.add_row(*map(escape, [key, *cells]))
        stdout().print(table)


def changed_files(changes: str) -> dict[str, str]:
    """The part of a git diff about each file, by its name."""
    parts = re.split(r"^(?=diff --git )", changes, flags=re.M)
    return {part.splitlines()[0].partition(" b/")[2]: part for part in parts if part.strip()}


def _read_code(run: Run) -> dict[str, object]:
    files = changed_files(run.read_text("uncommitted.diff"))
    hashes = {name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in files.items()}
    commit = run.mlflow_run.data.tags.get("mlflow.source.git.commit", "")
    return {"commit": commit, **{name: f"changes {each}" for name, each in hashes.items()}}


def _read_metrics(run: Run) -> dict[str, object]:
    metrics = run.mlflow_run.data.metrics
    return {name: value for name, value in metrics.items() if name.startswith(("best/", "test/"))}


def _compare(first: Mapping[str, object], second: Mapping[str, object]) -> Pairs:
    pairs = {}
    for key in dict.fromkeys([*first, *second]):
        a, b = first.get(key, ABSENT), second.get(key, ABSENT)
        if a != b and not (a != a and b != b):  # NaN differs from itself.
            pairs[key] = (str(a), str(b))
    return pairs


def _subtract(pair: tuple[str, str]) -> str:
    try:
        first, second = map(float, pair)
    except ValueError:
        return ""
    return f"{second - first:+.6g}"
