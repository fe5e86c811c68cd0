"""Searches of stored runs, and how often a test set was opened; imports nothing that trains."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.utils import get_results_from_paginated_fn

from project.core.errors import UserError
from project.tracking.labels import PARENT
from project.tracking.lineage import Data
from project.tracking.run import Run
from project.tracking.store import experiment_ids, open_store, tracking_uri, use_tracking_uri


@dataclass(frozen=True)
class RunInfo:
    """A stored run; one that was pruned is ``KILLED`` and has the tag ``pruned``."""

    id: str
    name: str
    status: str
    parent: str  # id of the run that this one is nested under; empty if there is none
    parent_name: str
    model: str
    data: str
    score_name: str  # metric on val
    score: float | None  # at the best epoch; None until it is known
    seconds: float  # until now if it is running
    started: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


def _read_info(run: MlflowRun, parent_name: str) -> RunInfo:
    info, tags, metrics = run.info, run.data.tags, run.data.metrics
    score_name = tags.get("score", "").removeprefix("val/")
    if "sweep.study" in tags and PARENT not in tags:  # its only such metric is that of its trials
        score_name = next((k.removeprefix("best/") for k in metrics if k.startswith("best/")), "")
    now = datetime.now(UTC).timestamp() * 1000
    return RunInfo(
        id=info.run_id,
        name=info.run_name,
        status=info.status,
        parent=tags.get(PARENT, ""),
        parent_name=parent_name,
        model=tags.get("model", ""),
        data=tags.get("data", ""),
        score_name=score_name,
        score=metrics.get(f"best/{score_name}"),
        seconds=((info.end_time or now) - info.start_time) / 1000,
        started=datetime.fromtimestamp(info.start_time / 1000, UTC).astimezone(),
        tags=tags,
        metrics=metrics,
        params=run.data.params,
    )


def find_runs(
    tags: Mapping[str, str], since: datetime | None = None, limit: int | None = None
) -> list[RunInfo]:
    """The runs that have all of these tags and started after a time, newest first."""
    parts = [_query(tags)] if tags else []
    if since is not None:
        parts.append(f"attributes.start_time >= {int(since.timestamp() * 1000)}")
    runs = search_runs(" and ".join(parts), limit=limit)
    names = {"": "", **{run.info.run_id: run.info.run_name for run in runs}}
    for parent in {run.data.tags.get(PARENT, "") for run in runs} - names.keys():
        try:
            names[parent] = Run(parent).mlflow_run.info.run_name
        except MlflowException:  # It was deleted for good.
            names[parent] = parent
    return [_read_info(run, names[run.data.tags.get(PARENT, "")]) for run in runs]


def children(parent: Run, tags: Mapping[str, str] | None = None) -> list[RunInfo]:
    """The runs nested under a parent that have these tags, oldest first."""
    info = parent.mlflow_run.info
    query = _query({PARENT: parent.id, **(tags or {})})
    runs = search_runs(query, experiments=[info.experiment_id], order_by=["start_time ASC"])
    return [_read_info(run, info.run_name) for run in runs]


def find_by_tags(tags: Mapping[str, str]) -> Run | None:
    """The latest run that has all of these tags and was not deleted."""
    latest = search_runs(_query(tags), limit=1)
    return Run(latest[0].info.run_id) if latest else None


def _query(tags: Mapping[str, str]) -> str:
    for name, value in tags.items():
        if "`" in name:
            raise UserError(f"tag.{name}: expected a name without '`'")
        if "'" in value and '"' in value:
            raise UserError(f"tag.{name}: {value}: expected a value with one kind of quotes")
    quoted = {k: f'"{value}"' if "'" in value else f"'{value}'" for k, value in tags.items()}
    return " and ".join(f"tags.`{name}` = {value}" for name, value in quoted.items())


def search_runs(
    query: str, experiments: list[str] | None = None, limit: int | None = None, **options: Any
) -> list[MlflowRun]:
    """The runs that match a query, newest first, in these experiments or in all of the project."""
    search, ids = open_store()[0].search_runs, experiments or experiment_ids()
    options = {"order_by": ["start_time DESC"], **options}

    def read_page(size: int, token: str | None) -> Any:
        return search(ids, query, max_results=size, page_token=token, **options)

    return list(get_results_from_paginated_fn(read_page, 1000, limit))


def record_opening(run: Run) -> int:
    """Records that the run opens its test split; returns the openings of that split by all runs."""
    openings = int(run.mlflow_run.data.tags.get("test.openings", 0)) + 1
    run.set_tags({"test.openings": openings})
    total = count_openings(run)
    run.set_tags({"test.openings_by_all_runs": total})
    return total


def count_openings(run: Run) -> int:
    """Counts how often any run has opened the test split of this run."""
    name = "split.test_fingerprint"
    split = _query({name: run.mlflow_run.data.tags[name]})
    # Count deleted runs and experiments as well: they opened the test set too.
    experiments = run.client.search_experiments(view_type=ViewType.ALL)
    ids = [each.experiment_id for each in experiments]
    runs = search_runs(split, ids, run_view_type=ViewType.ALL)
    return sum(int(each.data.tags.get("test.openings", 0)) for each in runs)


def find_run(run: str, key: str = "run") -> Run:
    """The trained run of an id, its first letters, or ``last``; a ``UserError`` names the key."""
    if run == "last":
        # A sweep's parent run has no data, so it can't be meant.
        latest = search_runs("tags.`split.fingerprint` != ''", limit=1)
        if not latest:
            raise UserError(f"{key}: last: no runs yet: run `make train` first")
        return Run(latest[0].info.run_id)
    run_id = run
    if re.fullmatch("[0-9a-f]{6,31}", run):
        matches = search_runs(f"attributes.run_id LIKE '{run}%'", limit=2)
        if len(matches) > 1:
            raise UserError(f"{key}: {run}: several runs begin with it: expected more of the id")
        run_id = matches[0].info.run_id if matches else run
    trained, fault = Run(run_id), ""
    try:
        stored = trained.mlflow_run
        if stored.info.lifecycle_stage != "active":
            fault = "it was deleted: expected another run"
        elif "split.fingerprint" not in stored.data.tags:
            kind = "the parent of a search or comparison"
            fault = f"it has trained no model itself, as {kind}: expected another run"
    except MlflowException:
        remedy = "a run id of `make runs`, or last"
        fault = f"there is no such run in {tracking_uri()}: expected {remedy}"
    if fault:
        raise UserError(f"{key}: {run}: {fault}")
    return trained


def find_parent(run_id: str) -> Run:
    """The parent run of a study; ``UserError`` if it was deleted or this store doesn't have it."""
    parent, fault = Run(run_id), "was deleted"
    try:
        if parent.mlflow_run.info.lifecycle_stage == "active":
            return parent
    except MlflowException:
        fault = f"isn't in {tracking_uri()}"
    remedy = "the study's own MLFLOW_TRACKING_URI, or STUDY= with a new name"
    raise UserError(f"sweep.study: its run {run_id} {fault}: expected {remedy}")


def find_model_run(model: str) -> Run:
    """The run of a model: ``models:/name@champion``, ``models:/name/3`` or as in ``find_run``."""
    if not model.startswith("models:/"):
        return find_run(model)
    open_store()
    try:
        with use_tracking_uri():
            run_id = get_model_info(model).run_id
    except (MlflowException, OSError):
        remedy = "models:/<name>@champion"
        raise UserError(f"run: {model}: there is no such model: expected {remedy}") from None
    return find_run(str(run_id))


def model_id(run: Run) -> str:
    """Id of the model that a run has saved; ``UserError`` if it has saved none."""
    stored = run.mlflow_run
    if stored.outputs is None or not stored.outputs.model_outputs:
        fault = f"it is {stored.info.status} and has no model"
        remedy = "a finished run of `make train`, or the winner of a sweep"
        raise UserError(f"run: {run.id}: {fault}: expected {remedy}")
    return str(stored.outputs.model_outputs[-1].model_id)


def check_same_data(run: Run, data: Data) -> None:
    """Raises ``UserError`` if the data are not those that the run was trained on."""
    stored = run.mlflow_run.data.tags["split.fingerprint"]
    if data.fingerprint != stored:
        fault = f"its data have changed, their fingerprint is {data.fingerprint[:12]}"
        raise UserError(f"run: {run.id}: {fault}: expected {stored[:12]}")
