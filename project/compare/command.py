"""The command ``compare``: trains variants over seeds, and judges claims about them."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product

from filelock import FileLock, Timeout
from rich.table import Table

from project.compare.analysis import Analysis, Runs, Trained, hash_code, load_analysis
from project.compare.comparison import Comparison, report
from project.compare.plan import Plan, RunKey
from project.config.build import build_data
from project.config.check import name_of
from project.core.console import say, stdout
from project.core.errors import TrainingError, UserError, nearest
from project.evaluate import open_test_set
from project.models.tasks import Task
from project.tracking.find import RunInfo, children, find_by_tags
from project.tracking.labels import PARENT
from project.tracking.lineage import source_hash
from project.tracking.run import Run
from project.tracking.store import store_folder
from project.training.devices import Devices, make_model
from project.workers.jobs import close_abandoned, train_all
from project.workers.pool import Pool, choose_workers
from project.workers.worker import Job


def compare(plan: Plan, tags: Mapping[str, str] | None = None) -> Comparison:
    """Trains variants over several seeds and judges claims about them; re-run to resume.

    Runs that are finished and unchanged are not trained again.

    Args:
        plan: The variants, seeds, measurements and claims.
        tags: Additional tags of the parent run.

    Raises:
        UserError: The data, a model or a metric doesn't suit the comparison; nothing was written.
        TrainingError: Not a single run was finished.
    """
    analysis = load_analysis(plan.analysis)
    keys = make_keys(plan, analysis)
    settings = next(iter(plan.configs.values())).trainer
    num_workers, devices = choose_workers(plan.settings.workers, settings, 1, "compare")
    with _open_parent(plan, tags or {}) as parent:
        with Pool(min(num_workers, len(keys)), devices) as pool:
            runs, failures = _train(plan, keys, parent, pool, devices)
        for variant, of_variant in runs.items():
            if plan.file.opens_test(variant):
                _open_test(of_variant)
        _add_measures(plan, analysis, runs)
        comparison = Comparison(plan, parent, runs, failures)
        report(comparison, analysis)
    return comparison


def make_keys(plan: Plan, analysis: Analysis) -> dict[RunKey, str]:
    """A hash of all that decides a run's numbers: a run that has it needn't be trained again."""
    keys: dict[RunKey, str] = {}
    metrics: dict[str, set[str]] = {}
    for (variant, seed), config in plan.configs.items():
        try:
            data = build_data(config)
            if variant not in metrics:
                model = make_model(config, data)
                if not analysis.supports(model):
                    pair = f"{config.model_name} on {name_of(config.data)}"
                    raise UserError(f"model: {pair}: this analysis needs {analysis.needs}")
                metrics[variant] = _metrics(model.task, plan.file.opens_test(variant))
                metrics[variant] |= set(analysis.measures)
        except UserError as error:
            raise UserError(f"variant {variant}: {error}") from None
        parts = json.dumps(config.model_dump(), sort_keys=True) + data.fingerprint + source_hash()
        keys[variant, seed] = hashlib.sha256(parts.encode()).hexdigest()
    known = set().union(*metrics.values())
    for metric in plan.file.measure:
        if metric not in known:
            raise UserError(f"measure: {metric}: {nearest(metric, known)}")
    for claim, (variant, names) in product(plan.claims, metrics.items()):
        if variant in (claim.first, claim.second) and claim.metric not in names:
            raise UserError(f"claims: {claim.text}: {variant} has no {claim.metric}")
    return keys


def _metrics(task: Task, is_tested: bool) -> set[str]:
    """Names of a run's metrics in MLflow."""
    names = {"loss", *task.metrics()}
    prefixes = ("val", "best", "test") if is_tested else ("val", "best")
    return {
        *(f"{prefix}/{name}" for prefix in prefixes for name in names),
        *(f"train/{name}" for name in names - {"loss"}),
        *(f"gap/{name}" for name in ("loss", *task.gap)),
        "train/loss_epoch",
    }


@contextmanager
def _open_parent(plan: Plan, tags: Mapping[str, str]) -> Iterator[Run]:
    """The MLflow run of a comparison, created on first use; it is RUNNING in the context."""
    name = plan.name
    key = {"compare.name": name}
    try:
        lock = FileLock(store_folder() / f".compare.{name}.lock", timeout=0).acquire()
    except Timeout:
        reason = "another process is running it: wait until it has finished"
        raise UserError(f"lesson: {name}: {reason}") from None
    with lock:
        parent = find_by_tags(key) or Run.create({"mlflow.runName": name, **key}, plan.kind)
        parent.set_tags(tags)
        with parent.running():
            yield parent


def _train(
    plan: Plan, keys: Mapping[RunKey, str], parent: Run, pool: Pool, devices: Devices
) -> tuple[dict[str, list[Trained]], dict[RunKey, str]]:
    """Trains the runs that aren't finished; returns the finished ones, and why others failed."""

    def find() -> dict[str, RunInfo]:
        infos = children(parent)
        return {info.tags["compare.key"]: info for info in infos if "compare.key" in info.tags}

    close_abandoned(find())
    jobs = []
    for (variant, seed), key in keys.items():
        node = plan.configs[variant, seed].model_dump()
        node["trainer"]["devices"] = devices.count
        tags = {
            PARENT: parent.id,
            "mlflow.runName": f"{variant}, seed {seed}",
            "compare.variant": variant,
            "compare.seed": str(seed),
            "compare.key": key,
        }
        jobs.append(Job(key, node, tags, log_model=False))
    size = f"{len(plan.variants)} variants, {len(plan.seeds)} seeds each"
    infos = train_all(pool, jobs, find, size)
    runs: dict[str, list[Trained]] = {variant: [] for variant in plan.variants}
    failures = {}
    for (variant, seed), config in plan.configs.items():
        info = infos.get(keys[variant, seed])
        if info is not None and info.status == "FINISHED":
            data, metrics = build_data(config), dict(info.metrics)
            trained = Trained(variant, seed, Run(info.id), config, data, metrics, info.tags)
            runs[variant].append(trained)
        else:
            reason = info.tags.get("failure", info.status) if info else "it was not started"
            failures[variant, seed] = reason
    if not any(runs.values()):
        raise TrainingError(f"{plan.name}: all runs failed: {next(iter(failures.values()))}")
    return runs, failures


def _open_test(runs: Sequence[Trained]) -> None:
    """Opens the test set of a variant once per split, for the run that is best on val."""
    by_split = defaultdict(list)
    for trained in runs:
        by_split[trained.data.fingerprint].append(trained)
    for of_split in by_split.values():
        if any(name.startswith("test/") for each in of_split for name in each.metrics):
            continue  # opened by an earlier command
        task = of_split[0].model.task
        sign = 1 if task.mode == "max" else -1
        best = max(of_split, key=lambda each: sign * each.metrics[f"best/{task.score}"])
        metrics = open_test_set(best.run.id).metrics
        best.metrics |= {f"test/{name}": value for name, value in metrics.items()}


def _add_measures(plan: Plan, analysis: Analysis, runs: Runs) -> None:
    """Measures each run once, and again when the code of the analysis has changed."""
    if plan.analysis is None or not analysis.measures:
        return
    code = hash_code(plan.analysis)
    every = [trained for of_variant in runs.values() for trained in of_variant]
    waiting = [trained for trained in every if trained.tags.get("compare.measured_by") != code]
    for position, trained in enumerate(waiting, 1):
        # Start from NaN so that no stale value from an earlier measurement survives.
        measured = dict.fromkeys(analysis.measures, math.nan) | dict(analysis.measure(trained))
        trained.run.log_metrics(measured, step=0)
        trained.run.set_tags({"compare.measured_by": code})
        trained.metrics |= measured
        say(f"{trained.variant}, seed {trained.seed}  measured  [{position}/{len(waiting)}]")


def show(comparison: Comparison) -> None:
    """Prints the measured values, the verdicts and the path of the report."""
    file = comparison.plan.file
    table = Table("variant", title=file.title, title_justify="left")
    for metric in file.measure:
        table.add_column(metric.replace("/", "/\n"), justify="right", overflow="fold")
    for variant, cells in comparison.means.items():
        table.add_row(variant, *("\n".join(cell).strip() for cell in cells))
    stdout().print(table)
    print()
    for verdict in comparison.verdicts:
        print(verdict)
    for (variant, seed), reason in comparison.failures.items():
        print(f"failed: {variant}, seed {seed}: {reason}")
    print(f"\n  report  {comparison.report}\n  make ui shows run {comparison.parent.id}")
