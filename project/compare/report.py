"""Tells what a comparison came to: tables, figures and a page of HTML that needs nothing else."""

import base64
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from project.compare.analysis import Drawn, Runs
from project.compare.claims import MIN_SEEDS, summary
from project.compare.comparison import Comparison
from project.core.statistics import Estimate
from project.figures import comparison as figures
from project.tracking.lineage import command_line, commit
from project.tracking.store import store_folder

DPI = 110
HOW = (
    "Each claim is judged by the mean difference over seeds and its 95 % interval by Student's t: "
    "paired by seed between two variants, one-sample against a number. It holds, or doesn't hold, "
    "if the interval lies on one side of zero; else, and with less than "
    f"{MIN_SEEDS} seeds, it is undecided. Each interval stands for itself: of twenty claims that "
    "are about nothing at all, one would not be undecided."
)


def report(comparison: Comparison) -> Path:
    """Logs tables, figures, verdicts and the page to the parent run; the path of the page."""
    lesson, parent = comparison.lesson, comparison.parent
    drawn = [*_figures(comparison), *lesson.analysis.figures(comparison.runs)]
    parent.log_figures((name, figure) for name, figure, _ in drawn)
    parent.log_text(as_csv(comparison), "runs.csv")
    parent.log_text(as_markdown(comparison), "table.md")
    page = _page(comparison, drawn)
    parent.log_text(page, "report.html")
    path = store_folder() / "reports" / f"{lesson.name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    verdicts = {
        f"verdict.{position}": str(verdict)
        for position, verdict in enumerate(comparison.verdicts, start=1)
    }
    for tag in parent.mlflow_run.data.tags:  # of an earlier version of the lesson
        if tag.startswith("verdict.") and tag not in verdicts:
            parent.client.delete_tag(parent.id, tag)
    parent.set_tags({"mlflow.note.content": as_markdown(comparison), **verdicts})
    parent.log_text("\n".join(map(str, comparison.verdicts)) + "\n", "verdicts.txt")
    return path


def as_csv(comparison: Comparison) -> str:
    """A line a run: variant, seed, the metrics and the run's id."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = comparison.lesson.file.measure
    writer.writerow(["variant", "seed", *metrics, "run_id"])
    for variant, runs in comparison.runs.items():
        for trained in runs:
            values = [trained.metrics.get(metric, "") for metric in metrics]
            writer.writerow([variant, trained.seed, *values, trained.run.id])
    return text.getvalue()


def as_markdown(comparison: Comparison) -> str:
    """The verdicts and the table of means."""
    lesson = comparison.lesson
    metrics = lesson.file.measure
    lines = [f"**{lesson.file.title}**: {lesson.file.question}", ""]
    lines += [f"- {verdict}" for verdict in comparison.verdicts]
    lines += ["", f"| variant | {' | '.join(metrics)} |", f"| --- |{' --- |' * len(metrics)}"]
    for variant in comparison.runs:
        cells = [_cell(_estimate(comparison, metric, variant)) for metric in metrics]
        shown = [f"{cell.mean} {cell.interval}".strip() if cell else "" for cell in cells]
        lines.append(f"| {variant} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def show(comparison: Comparison, path: Path) -> None:
    """Prints the table and the verdicts."""
    lesson = comparison.lesson
    table = Table(title=lesson.file.title, title_justify="left")
    table.add_column("variant")
    for metric in lesson.file.measure:
        table.add_column(metric.replace("/", "/\n"), justify="right", overflow="fold")
    for variant in comparison.runs:
        cells = [_cell(_estimate(comparison, metric, variant)) for metric in lesson.file.measure]
        table.add_row(variant, *(f"{c.mean}\n{c.interval}".strip() if c else "" for c in cells))
    console = Console(width=None if Console().is_terminal else 140)
    console.print()
    console.print(table)
    print()
    for verdict in comparison.verdicts:
        print(verdict)
    for (variant, seed), reason in comparison.failures.items():
        print(f"failed: {variant}, seed {seed}: {reason}")
    print(f"\n  {path}\n  make ui    look at run {comparison.parent.id}")


@dataclass(frozen=True)
class _Cell:
    mean: str
    interval: str


def _estimate(comparison: Comparison, metric: str, variant: str) -> Estimate | None:
    values = comparison.values[metric][variant]
    return summary(values) if values else None


def _cell(sure: Estimate | None) -> _Cell | None:
    if sure is None:
        return None
    has_interval = sure.low == sure.low
    return _Cell(f"{sure.mean:.4g}", f"{sure.low:.4g} to {sure.high:.4g}" if has_interval else "")


def _figures(comparison: Comparison) -> Iterator[Drawn]:
    """What every comparison shows: its measures, and the learning curves of val."""
    values = {
        metric: {variant: list(by_seed.values()) for variant, by_seed in by_variant.items()}
        for metric, by_variant in comparison.values.items()
    }
    yield (
        "measures",
        figures.measures(values),
        "What was measured: a dot a seed, the mean and its 95 % interval.",
    )
    scores = dict.fromkeys(["loss", *_scores(comparison.runs)])
    panels = {
        f"val/{name}": {
            variant: [
                (np.arange(1, len(history) + 1), history)
                for trained in runs
                if len(history := trained.history(f"val/{name}")[1])
            ]
            for variant, runs in comparison.runs.items()
        }
        for name in scores
    }
    yield (
        "curves",
        figures.curves(panels),
        "Validation over the epochs, to where the first of a variant's runs stopped: mean over "
        "seeds, and their range as a band.",
    )


def _scores(runs: Runs) -> list[str]:
    return [trained.model.task.score for of_variant in runs.values() for trained in of_variant[:1]]


def _page(comparison: Comparison, drawn: list[Drawn]) -> str:
    lesson = comparison.lesson
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True)
    environment.filters["code"] = _mark_code
    environment.filters["breakable"] = _mark_breaks
    rows = [
        {
            "variant": variant,
            "cells": [_cell(_estimate(comparison, m, variant)) for m in lesson.file.measure],
            "count": f"{len(runs)} of {len(lesson.seeds)}",
        }
        for variant, runs in comparison.runs.items()
    ]
    fingerprints = {
        trained.data.fingerprint[:12] for runs in comparison.runs.values() for trained in runs
    }
    return environment.get_template("report.html").render(
        lesson=lesson,
        verdicts=comparison.verdicts,
        how=HOW,
        table={"metrics": lesson.file.measure, "rows": rows},
        failures=comparison.failures,
        paragraphs=[part for part in lesson.file.text.strip().split("\n\n") if part],
        figures=[{"caption": caption, "data": _encode(figure)} for _, figure, caption in drawn],
        changes=lesson.changes,
        base=lesson.base,
        command=command_line(),
        parent=comparison.parent.id,
        commit=commit()[:12],
        fingerprints=sorted(fingerprints),
    )


def _mark_code(text: str) -> Markup:
    """Escapes a text of a lesson; what stands in backticks becomes code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _mark_breaks(metric: str) -> Markup:
    """Escapes the name of a metric; a line may end behind its slashes and underscores."""
    return Markup(re.sub(r"([/_])", r"\1<wbr>", str(escape(metric))))


def _encode(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return base64.b64encode(buffer.getvalue()).decode()
