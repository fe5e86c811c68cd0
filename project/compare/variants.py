"""The runs of a comparison: identifies them, checks their models and trains those missing."""

import hashlib
import json
from collections.abc import Mapping

from project.compare.analysis import Analysis, Trained
from project.compare.plan import Plan, RunKey
from project.config.build import build_data
from project.config.check import name_of
from project.core.errors import TrainingError, UserError, nearest
from project.models.tasks import Task
from project.tracking.find import RunInfo, children
from project.tracking.lineage import source_hash
from project.tracking.run import PARENT, Run
from project.training.devices import Devices, make_model
from project.workers.jobs import close_abandoned, train_all
from project.workers.pool import Pool
from project.workers.worker import Job


def make_keys(plan: Plan, analysis: Analysis) -> dict[RunKey, str]:
    """A hash of all that decides a run's numbers: a run that has it needn't be trained again.

    Raises:
        UserError: The data, a model or a metric doesn't suit the comparison.
    """
    keys: dict[RunKey, str] = {}
    metrics: dict[str, set[str]] = {}
    for (variant, seed), config in plan.configs.items():
        try:
            data = build_data(config)
            if variant not in metrics:
                model = make_model(config, data)
                if not analysis.supports(model):
                    pair = f"{name_of(config.model)} on {name_of(config.data)}"
                    raise UserError(f"model: {pair}: this analysis needs {analysis.needs}")
                metrics[variant] = _metrics(model.task, plan.file.opens_test(variant))
                metrics[variant] |= set(analysis.measures)
        except UserError as error:
            raise UserError(f"variant {variant}: {error}") from None
        whole = json.dumps(config.model_dump(), sort_keys=True)
        parts = whole + data.fingerprint + source_hash()
        keys[variant, seed] = hashlib.sha256(parts.encode()).hexdigest()
    known = set().union(*metrics.values())
    for metric in plan.file.measure:
        if metric not in known:
            raise UserError(f"measure: {metric}: {nearest(metric, known)}")
    for claim in plan.claims:
        for variant in claim.variants:
            if claim.metric not in metrics[variant]:
                raise UserError(f"claims: {claim.text}: {variant} has no {claim.metric}")
    return keys


def _metrics(task: Task, is_tested: bool) -> set[str]:
    """Names of a run's metrics in MLflow."""
    names = {"loss", *map(str, task.metrics().keys())}
    prefixes = ("val", "best", "test") if is_tested else ("val", "best")
    return {
        *(f"{prefix}/{name}" for prefix in prefixes for name in names),
        *(f"train/{name}" for name in names - {"loss"}),
        *(f"gap/{name}" for name in ("loss", *task.gap)),
        "train/loss_epoch",
    }


def train(
    plan: Plan, keys: Mapping[RunKey, str], parent: Run, pool: Pool, devices: Devices
) -> tuple[dict[str, list[Trained]], dict[RunKey, str]]:
    """Trains the runs that aren't finished.

    Args:
        plan: Plan of the comparison.
        keys: Hash of each run.
        parent: MLflow run of the comparison.
        pool: Workers.
        devices: Devices of one run.

    Returns:
        Finished runs by variant, and reasons of failed ones.

    Raises:
        TrainingError: Not a single run is finished.
    """

    def find() -> dict[str, RunInfo]:
        return {
            run.tags["compare.key"]: run for run in children(parent) if "compare.key" in run.tags
        }

    close_abandoned(find())
    jobs = [_job(plan, key, name, parent, devices) for key, name in keys.items()]
    size = f"{len(plan.variants)} variants, {len(plan.seeds)} seeds each"
    infos = train_all(pool, jobs, find, size)
    runs: dict[str, list[Trained]] = {variant: [] for variant in plan.variants}
    failures = {}
    for (variant, seed), name in keys.items():
        info = infos.get(name)
        if info is not None and info.status == "FINISHED":
            config = plan.configs[variant, seed]
            data, metrics = build_data(config), dict(info.metrics)
            each = Trained(variant, seed, Run(info.id), config, data, metrics, info.tags)
            runs[variant].append(each)
        else:
            reason = info.tags.get("failure", info.status) if info else "it was not started"
            failures[variant, seed] = reason
    if not any(runs.values()):
        raise TrainingError(f"{plan.name}: all runs failed: {next(iter(failures.values()))}")
    return runs, failures


def _job(plan: Plan, key: RunKey, name: str, parent: Run, devices: Devices) -> Job:
    variant, seed = key
    config = plan.configs[key].model_dump()
    config["trainer"]["devices"] = devices.count
    tags = {
        PARENT: parent.id,
        "mlflow.runName": f"{variant}, seed {seed}",
        "compare.variant": variant,
        "compare.seed": str(seed),
        "compare.key": name,
    }
    return Job(name, config, tags, log_model=False)
