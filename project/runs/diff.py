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

Pairs = Mapping[str, tuple[str, str]]  # both values, by name


@dataclass(frozen=True)
class Difference:
    """Both values of everything that differs between two runs."""

    runs: tuple[str, str]
    config: Pairs
    code: Pairs  # commits; and hashes of uncommitted changes by file
    packages: Pairs
    data: Pairs  # fingerprints by split
    metrics: Pairs


def diff(first: RunId, second: RunId) -> Difference:
    """Compares two runs: config, code, packages, data and metrics.

    Args:
        first: First run: its id, the first letters of it, or ``last``.
        second: Second run.

    Raises:
        UserError: A run is unknown, or was stopped before it logged its config.
    """
    runs = find_run(first, "first"), find_run(second, "second")
    pairs = {part: _compare(*map(read, runs)) for part, read in READERS.items()}
    return Difference((runs[0].id, runs[1].id), **pairs)


def _compare(first: Mapping[str, object], second: Mapping[str, object]) -> Pairs:
    pairs = {key: (first.get(key, "-"), second.get(key, "-")) for key in {**first, **second}}
    return {
        key: (str(a), str(b))
        for key, (a, b) in pairs.items()
        if a != b and not (a != a and b != b)  # NaN differs from itself.
    }


def show(difference: Difference) -> None:
    """Prints a table for each part that differs."""
    names = [run[:ID_LENGTH] for run in difference.runs]
    tables: dict[str, Pairs] = {title: getattr(difference, title) for title in READERS}
    if not any(tables.values()):
        print(f"{names[0]} and {names[1]}: the same config, code, packages, data and metrics")
        return
    for title, pairs in tables.items():
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
                cells.append("" if "-" in pair else f"{float(pair[1]) - float(pair[0]):+.6g}")
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


READERS: Mapping[str, Callable[[Run], Mapping[str, object]]] = {
    "config": lambda run: flatten(run.stored_config()),
    "code": _read_code,
    "packages": lambda run: parse_packages(run.read_text("requirements.txt")),
    "data": lambda run: json.loads(run.read_text("split.json") or "{}").get("sha256", {}),
    "metrics": lambda run: {
        name: value
        for name, value in run.mlflow_run.data.metrics.items()
        if name.startswith(("best/", "test/"))
    },
}
