"""Does a comparison: trains what isn't trained yet, measures, judges and reports."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout

from project.compare.analysis import Runs, Trained
from project.compare.claims import Verdict, judge
from project.compare.plan import Lesson, Planned
from project.config.build import build_data
from project.core.console import say
from project.core.errors import TrainingError, UserError
from project.data.module import DataModule
from project.evaluate import evaluate
from project.tracking.children import create_parent, opened
from project.tracking.find import RunInfo, children, find_by_tags
from project.tracking.lineage import source_hash
from project.tracking.run import PARENT, Run
from project.tracking.store import store_folder
from project.training.devices import Devices
from project.workers.jobs import close_abandoned, train_all
from project.workers.pool import Pool
from project.workers.worker import Job


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        lesson: that was compared.
        parent: its run in MLflow.
        runs: finished, by variant.
        values: by metric, variant and seed.
        verdicts: one a claim.
        failures: why a run has failed, by variant and seed.
    """

    lesson: Lesson
    parent: Run
    runs: Runs
    values: Mapping[str, Mapping[str, Mapping[int, float]]]
    verdicts: tuple[Verdict, ...]
    failures: Mapping[tuple[str, int], str]


@contextmanager
def open_parent(lesson: Lesson) -> Iterator[Run]:
    """The comparison's run in MLflow, made on first use, which is RUNNING in the context.

    Raises:
        UserError: another process is doing this comparison.
    """
    tags = {"compare.name": lesson.name}
    lock = FileLock(store_folder() / f".compare.{lesson.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"lesson: {lesson.name}: another process is comparing it now") from None
    with lock:
        parent = find_by_tags(tags)
        if parent is None:
            parent = create_parent(lesson.name, tags)
        with opened(parent):
            yield parent


def compare(lesson: Lesson, parent: Run, pool: Pool, devices: Devices) -> Comparison:
    """Trains what isn't trained yet, measures and judges.

    Args:
        lesson: to be compared.
        parent: its run.
        pool: of workers.
        devices: of a run.

    Raises:
        TrainingError: no run was finished.
    """

    def find() -> dict[str, RunInfo]:
        return {
            run.tags["compare.key"]: run for run in children(parent) if "compare.key" in run.tags
        }

    close_abandoned(find())
    jobs = [_job(planned, parent, devices) for planned in lesson.runs]
    runs: dict[str, list[Trained]] = {variant: [] for variant in lesson.variants}
    what = f"{len(runs)} variants, {len(lesson.seeds)} seeds each"
    done = train_all(pool, jobs, find, what)
    failures = {}
    for planned in lesson.runs:
        child = done.get(planned.key)
        if child is None or child.status != "FINISHED":
            reason = child.tags.get("failure", child.status) if child else "it was not begun"
            failures[planned.variant, planned.seed] = reason
            continue
        data = build_data(planned.config)
        runs[planned.variant].append(_trained(planned, child, data))
    if not any(runs.values()):
        raise TrainingError(f"{lesson.name}: no run was finished: {next(iter(failures.values()))}")
    if lesson.file.final:
        _open_test({name: found for name, found in runs.items() if lesson.file.opens_test(name)})
    _add_measures(lesson, runs)
    values = {
        metric: {
            variant: {
                trained.seed: trained.metrics[metric]
                for trained in of_variant
                if math.isfinite(trained.metrics.get(metric, math.nan))
            }
            for variant, of_variant in runs.items()
        }
        for metric in lesson.file.measure
    }
    num_seeds = len(lesson.seeds)
    verdicts = tuple(judge(claim, values[claim.metric], num_seeds) for claim in lesson.claims)
    return Comparison(lesson, parent, runs, values, verdicts, failures)


def _job(planned: Planned, parent: Run, devices: Devices) -> Job:
    config = planned.config.model_dump()
    config["trainer"]["devices"] = devices.count
    return Job(
        name=planned.key,
        config=config,
        tags={
            PARENT: parent.id,
            "mlflow.runName": f"{planned.variant}, seed {planned.seed}",
            "compare.variant": planned.variant,
            "compare.seed": str(planned.seed),
            "compare.key": planned.key,
        },
        log_model=False,
    )


def _trained(planned: Planned, child: RunInfo, data: DataModule) -> Trained:
    run = Run(child.id)
    metrics = dict(child.metrics)
    return Trained(planned.variant, planned.seed, run, run.config(), data, metrics, child.tags)


def _add_measures(lesson: Lesson, runs: Runs) -> None:
    """Measures what the lesson adds, once a run: it is logged there, with the code's hash."""
    if not lesson.analysis.measures:
        return
    code = source_hash("lessons")
    waiting = [
        trained
        for of_variant in runs.values()
        for trained in of_variant
        if trained.tags.get("compare.measured_by") != code
    ]
    for position, trained in enumerate(waiting, 1):
        # What there is no value of this time must not keep an earlier one.
        nothing = dict.fromkeys(lesson.analysis.measures, math.nan)
        found = nothing | dict(lesson.analysis.measure(trained))
        trained.run.log_metrics(found, step=0)
        trained.run.set_tags({"compare.measured_by": code})
        trained.metrics |= found
        say(f"{trained.variant}, seed {trained.seed}  measured  [{position}/{len(waiting)}]")


def _open_test(runs: Runs) -> None:
    """Opens the test set once for each variant and split, for the run that is best on val."""
    for of_variant in runs.values():
        by_split: dict[str, list[Trained]] = {}
        for trained in of_variant:
            by_split.setdefault(trained.data.fingerprint, []).append(trained)
        for of_split in by_split.values():
            task = of_split[0].model.task
            sign = 1 if task.mode == "max" else -1
            best = max(of_split, key=lambda t: sign * t.metrics[f"best/{t.model.task.score}"])
            if any(name.startswith("test/") for t in of_split for name in t.metrics):
                continue  # opened by an earlier start
            result = evaluate(best.run.id)
            best.metrics |= {f"test/{name}": value for name, value in result.metrics.items()}
