"""A finished comparison: verdicts, tables, figures, and an HTML page that needs no other file."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Template
from matplotlib.figure import Figure
from pandas import DataFrame

from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.compare.claims import MIN_SEEDS, Verdict, judge
from project.compare.plan import Plan, RunKey
from project.core.statistics import estimate
from project.figures import comparison as figures
from project.tracking.description import describe_parent
from project.tracking.labels import DESCRIPTION
from project.tracking.lineage import command_line, commit
from project.tracking.run import Run
from project.tracking.store import store_folder


@dataclass(frozen=True)
class Comparison:
    """A plan and its trained runs."""

    plan: Plan
    parent: Run  # MLflow run above the runs of the variants
    runs: Runs  # finished ones
    failures: Mapping[RunKey, str]  # reasons of failed runs

    @property
    def report(self) -> Path:
        """HTML file of the report."""
        return store_folder() / "reports" / f"{self.plan.name}.html"

    @cached_property
    def values(self) -> dict[str, dict[str, dict[int, float]]]:
        """Finite values, by metric, variant and seed."""

        def finite(metric: str, runs: Sequence[Trained]) -> dict[int, float]:
            values = {each.seed: each.metrics.get(metric, math.nan) for each in runs}
            return {seed: value for seed, value in values.items() if math.isfinite(value)}

        return {
            metric: {variant: finite(metric, runs) for variant, runs in self.runs.items()}
            for metric in self.plan.file.measure
        }

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """One verdict per claim."""
        num_seeds = len(self.plan.seeds)
        return [judge(each, self.values[each.metric], num_seeds) for each in self.plan.claims]

    @property
    def means(self) -> dict[str, list[tuple[str, str]]]:
        """Mean over seeds and 95 % interval of each metric, by variant; empty if unknown."""

        def cell(values: Sequence[float]) -> tuple[str, str]:
            mean = estimate(values or [math.nan])
            texts = f"{mean.mean:.4g}", f"{mean.low:.4g} to {mean.high:.4g}"
            return texts[0] if values else "", texts[1] if len(values) > 1 else ""

        return {
            variant: [cell([*each[variant].values()]) for each in self.values.values()]
            for variant in self.runs
        }

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON types."""
        return {
            "name": self.plan.name,
            "variants": list(self.plan.variants),
            "seeds": self.plan.seeds,
            "values": self.values,
            "verdicts": [
                {
                    "claim": verdict.claim.text,
                    "status": verdict.status,
                    "difference": verdict.difference.mean,
                    "low": verdict.difference.low,
                    "high": verdict.difference.high,
                    "num_seeds": verdict.num_seeds,
                    "reason": verdict.reason,
                }
                for verdict in self.verdicts
            ],
            "failures": [
                {"variant": variant, "seed": seed, "reason": reason}
                for (variant, seed), reason in self.failures.items()
            ],
            "run_id": self.parent.id,
            "run_ids": {
                variant: {each.seed: each.run.id for each in of_variant}
                for variant, of_variant in self.runs.items()
            },
            "report": str(self.report),
        }


def report(comparison: Comparison, analysis: Analysis) -> None:
    """Logs tables, figures, verdicts and the page to the parent run, and writes the page."""
    parent = comparison.parent
    runs = {variant: each for variant, each in comparison.runs.items() if each}
    every = [trained for of_variant in runs.values() for trained in of_variant]
    drawn = [*_figures(comparison), *analysis.figures(runs)]
    parent.log_figures((name, figure) for name, figure, *_ in drawn)
    template = Path(__file__).with_name("report.html.jinja").read_text()
    page = Template(template, autoescape=True).render(
        comparison=comparison,
        min_seeds=MIN_SEEDS,
        figures=[(name, caption, _encode(figure)) for name, figure, *caption in drawn],
        command=command_line(),
        commit=commit()[:12],
        fingerprints=sorted({trained.data.fingerprint[:12] for trained in every}),
    )
    rows = [
        {**each.metrics, "variant": each.variant, "seed": each.seed, "run_id": each.run.id}
        for each in every
    ]
    table = _as_markdown(comparison)
    columns = ["variant", "seed", *comparison.values, "run_id"]
    parent.log_text(DataFrame(rows).reindex(columns=columns).to_csv(index=False), "runs.csv")
    parent.log_text(table, "table.md")
    parent.log_text(page, "report.html")
    parent.log_text("".join(f"{verdict}\n" for verdict in comparison.verdicts), "verdicts.txt")
    comparison.report.parent.mkdir(parents=True, exist_ok=True)
    comparison.report.write_text(page)
    verdicts = {f"verdict.{n}": str(each) for n, each in enumerate(comparison.verdicts, start=1)}
    for tag in parent.mlflow_run.data.tags:
        if tag.startswith("verdict.") and tag not in verdicts:  # of an earlier version of the file
            parent.client.delete_tag(parent.id, tag)
    parent.set_tags({DESCRIPTION: describe_parent(parent.mlflow_run, table), **verdicts})


def _as_markdown(comparison: Comparison) -> str:
    """The verdicts and the table of means."""
    file = comparison.plan.file
    rows = [["variant", *file.measure], ["---"] * (1 + len(file.measure))]
    for variant, cells in comparison.means.items():
        rows.append([variant, *(" ".join(cell).strip() for cell in cells)])
    verdicts = [f"- {verdict}" for verdict in comparison.verdicts]
    table = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{file.title}**: {file.question}", "", *verdicts, "", *table, ""])


def _figures(comparison: Comparison) -> Iterator[Drawn]:
    """The figures of every comparison: measured values, and learning curves on val."""
    values = {
        metric: {variant: list(by_seed.values()) for variant, by_seed in by_variant.items()}
        for metric, by_variant in comparison.values.items()
    }
    yield "measures", figures.measures(values)
    runs = comparison.runs
    scores = [each[0].model.task.score for each in runs.values() if each]
    panels = {
        f"val/{name}": {
            variant: [
                (np.arange(1, len(history) + 1), history)
                for trained in of_variant
                if len(history := trained.run.history(f"val/{name}")[1])
            ]
            for variant, of_variant in runs.items()
        }
        for name in dict.fromkeys(["loss", *scores])
    }
    yield "curves", figures.curves(panels)


def _encode(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
