"""A comparison's record, and the steps after training: measuring, opening the test set, judging."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from project.compare.analysis import Analysis, Runs, Trained, hash_code
from project.compare.claims import Verdict, judge
from project.compare.plan import Plan, RunKey
from project.core.console import say
from project.core.errors import UserError
from project.evaluate import open_test_set
from project.tracking.children import create_parent, opened
from project.tracking.find import find_by_tags
from project.tracking.run import Run
from project.tracking.store import store_folder


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        plan: The plan that was run.
        parent: MLflow run above the runs of the variants.
        runs: Finished runs, by variant.
        values: Finite values, by metric, variant and seed.
        verdicts: One verdict per claim.
        failures: Reasons of failed runs, by variant and seed.
        report: HTML file of the report.
    """

    plan: Plan
    parent: Run
    runs: Runs
    values: Mapping[str, Mapping[str, Mapping[int, float]]]
    verdicts: tuple[Verdict, ...]
    failures: Mapping[RunKey, str]
    report: Path

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON types."""
        return {
            "name": self.plan.name,
            "variants": self.plan.variants,
            "seeds": self.plan.seeds,
            "values": self.values,
            "verdicts": [
                {
                    "claim": verdict.claim.text,
                    "status": verdict.status,
                    "difference": verdict.difference and verdict.difference.mean,
                    "low": verdict.difference and verdict.difference.low,
                    "high": verdict.difference and verdict.difference.high,
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
                variant: {trained.seed: trained.run.id for trained in runs}
                for variant, runs in self.runs.items()
            },
            "report": str(self.report),
        }


@contextmanager
def open_parent(name: str) -> Iterator[Run]:
    """The MLflow run of a comparison, created on first use; it is RUNNING in the context.

    Raises:
        UserError: Another process is running this comparison.
    """
    tags = {"compare.name": name}
    lock = FileLock(store_folder() / f".compare.{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"lesson: {name}: another process is running it: wait until it has finished"
        ) from None
    with lock:
        parent = find_by_tags(tags) or create_parent(name, tags)
        with opened(parent):
            yield parent


def add_measures(plan: Plan, analysis: Analysis, runs: Runs) -> None:
    """Measures each run once, and again when the code of the analysis has changed."""
    if plan.analysis is None or not analysis.measures:
        return
    code = hash_code(plan.analysis)
    waiting = [
        trained
        for of_variant in runs.values()
        for trained in of_variant
        if trained.tags.get("compare.measured_by") != code
    ]
    for position, trained in enumerate(waiting, 1):
        # Start from NaN so that no stale value from an earlier measurement survives.
        measured = dict.fromkeys(analysis.measures, math.nan) | dict(analysis.measure(trained))
        trained.run.log_metrics(measured, step=0)
        trained.run.set_tags({"compare.measured_by": code})
        trained.metrics |= measured
        say(f"{trained.variant}, seed {trained.seed}  measured  [{position}/{len(waiting)}]")


def open_test(runs: Sequence[Trained]) -> None:
    """Opens the test set of a variant once per split, for the run that is best on val."""
    by_split: dict[str, list[Trained]] = {}
    for trained in runs:
        by_split.setdefault(trained.data.fingerprint, []).append(trained)
    for of_split in by_split.values():
        if any(name.startswith("test/") for each in of_split for name in each.metrics):
            continue  # opened by an earlier command
        task = of_split[0].model.task
        sign = 1 if task.mode == "max" else -1
        best = max(of_split, key=lambda each: sign * each.metrics[f"best/{task.score}"])
        metrics = open_test_set(best.run.id).metrics
        best.metrics |= {f"test/{name}": value for name, value in metrics.items()}


def judge_all(plan: Plan, runs: Runs) -> tuple[dict[str, Any], tuple[Verdict, ...]]:
    """The finite values by metric, variant and seed, and a verdict on each claim."""
    values = {
        metric: {
            variant: {
                each.seed: each.metrics[metric]
                for each in of_variant
                if math.isfinite(each.metrics.get(metric, math.nan))
            }
            for variant, of_variant in runs.items()
        }
        for metric in plan.file.measure
    }
    num_seeds = len(plan.seeds)
    return values, tuple(judge(each, values[each.metric], num_seeds) for each in plan.claims)
