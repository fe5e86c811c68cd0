"""Reports a comparison: tables, figures, and an HTML page that needs no other file."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from pandas import DataFrame

from project.compare.analysis import Analysis, Drawn
from project.compare.claims import MIN_SEEDS
from project.compare.comparison import Comparison
from project.core.statistics import estimate
from project.figures import comparison as figures
from project.tracking.lineage import command_line, commit
from project.tracking.store import store_folder

DPI = 110
METHOD = (
    "Each claim is judged by the mean difference over seeds with its 95 % confidence interval "
    "(Student's t): paired by seed between two variants, one-sample against a number. If the "
    "interval lies on one side of zero, the claim holds or does not hold; otherwise, and with "
    f"fewer than {MIN_SEEDS} seeds, it is undecided. The intervals are not corrected for multiple "
    "comparisons: of twenty claims without any true difference, about one is decided by chance."
)


def report_path(name: str) -> Path:
    """The HTML file of a comparison's report."""
    return store_folder() / "reports" / f"{name}.html"


def report(comparison: Comparison, analysis: Analysis) -> None:
    """Logs tables, figures, verdicts and the page to the parent run, and writes the page."""
    parent = comparison.parent
    runs = {variant: each for variant, each in comparison.runs.items() if each}
    drawn = [*_figures(comparison), *analysis.figures(runs)]
    parent.log_figures((name, figure) for name, figure, _ in drawn)
    page = _page(comparison, drawn)
    table = as_markdown(comparison)
    for file, text in (
        ("runs.csv", as_csv(comparison)),
        ("table.md", table),
        ("report.html", page),
        ("verdicts.txt", "\n".join(map(str, comparison.verdicts)) + "\n"),
    ):
        parent.log_text(text, file)
    comparison.report.parent.mkdir(parents=True, exist_ok=True)
    comparison.report.write_text(page)
    verdicts = {f"verdict.{n}": str(each) for n, each in enumerate(comparison.verdicts, start=1)}
    for tag in parent.mlflow_run.data.tags:
        if tag.startswith("verdict.") and tag not in verdicts:  # of an earlier version of the file
            parent.client.delete_tag(parent.id, tag)
    parent.set_tags({"mlflow.note.content": table, **verdicts})


def as_csv(comparison: Comparison) -> str:
    """One line per run: variant, seed, the metrics and the run id."""
    rows = [
        {
            "variant": variant,
            "seed": trained.seed,
            **{metric: trained.metrics.get(metric) for metric in comparison.plan.file.measure},
            "run_id": trained.run.id,
        }
        for variant, runs in comparison.runs.items()
        for trained in runs
    ]
    return str(DataFrame(rows).to_csv(index=False))


def as_markdown(comparison: Comparison) -> str:
    """The verdicts and the table of means."""
    file = comparison.plan.file
    lines = [f"**{file.title}**: {file.question}", ""]
    lines += [f"- {verdict}" for verdict in comparison.verdicts]
    lines += ["", f"| variant | {' | '.join(file.measure)} |"]
    lines += ["| --- |" + " --- |" * len(file.measure)]
    for variant, cells in means(comparison).items():
        lines.append(f"| {' | '.join([variant, *(' '.join(cell).strip() for cell in cells)])} |")
    return "\n".join(lines) + "\n"


def means(comparison: Comparison) -> dict[str, list[tuple[str, str]]]:
    """Mean over seeds and 95 % interval of each metric as texts, by variant; empty if unknown."""
    cells: dict[str, list[tuple[str, str]]] = {variant: [] for variant in comparison.plan.variants}
    for by_variant in comparison.values.values():
        for variant, by_seed in by_variant.items():
            mean = estimate(list(by_seed.values())) if by_seed else None
            interval = f"{mean.low:.4g} to {mean.high:.4g}" if mean and len(by_seed) > 1 else ""
            cells[variant].append((f"{mean.mean:.4g}" if mean else "", interval))
    return cells


def _figures(comparison: Comparison) -> Iterator[Drawn]:
    """The figures of every comparison: measured values, and learning curves on val."""
    values = {
        metric: {variant: list(by_seed.values()) for variant, by_seed in by_variant.items()}
        for metric, by_variant in comparison.values.items()
    }
    yield (
        "measures",
        figures.measures(values),
        "Measured values: one dot per seed, the mean and its 95 % confidence interval.",
    )
    runs = comparison.runs
    scores = [each[0].model.task.score for each in runs.values() if each]
    panels = {
        f"val/{name}": {
            variant: [
                (np.arange(1, len(history) + 1), history)
                for trained in of_variant
                if len(history := trained.history(f"val/{name}")[1])
            ]
            for variant, of_variant in runs.items()
        }
        for name in dict.fromkeys(["loss", *scores])
    }
    yield (
        "curves",
        figures.curves(panels),
        "Validation metrics by epoch: mean over seeds, with the range of the seeds as a band. A "
        "curve ends where the first run of its variant stopped.",
    )


def _page(comparison: Comparison, drawn: Sequence[Drawn]) -> str:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["code"] = _mark_code
    environment.filters["breakable"] = _mark_breaks
    plan = comparison.plan
    fingerprints = {
        trained.data.fingerprint[:12] for runs in comparison.runs.values() for trained in runs
    }
    return environment.get_template("report.html.jinja").render(
        plan=plan,
        file=plan.file,
        verdicts=comparison.verdicts,
        method=METHOD,
        means=means(comparison),
        runs=comparison.runs,
        failures=comparison.failures,
        paragraphs=[part for part in plan.file.text.strip().split("\n\n") if part],
        figures=[{"caption": caption, "data": _encode(figure)} for _, figure, caption in drawn],
        command=command_line(),
        parent=comparison.parent.id,
        commit=commit()[:12],
        fingerprints=sorted(fingerprints),
    )


def _mark_code(text: str) -> Markup:
    """Escapes a text, and turns backticks into code elements."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _mark_breaks(metric: str) -> Markup:
    """Escapes a metric's name, and allows line breaks after slashes and underscores."""
    return Markup(re.sub(r"([/_])", r"\1<wbr>", str(escape(metric))))


def _encode(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return base64.b64encode(buffer.getvalue()).decode()
