"""Searches of stored runs; imports nothing that trains."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info

from project.core.errors import UserError
from project.tracking.lineage import Data
from project.tracking.run import PARENT, Run
from project.tracking.store import open_store, tracking_uri, use_tracking_uri


@dataclass(frozen=True)
class RunInfo:
    """A stored run.

    Attributes:
        id: MLflow run id.
        name: Run name.
        status: ``RUNNING``, ``FINISHED``, ``KILLED`` or ``FAILED``; a pruned run is ``KILLED`` and
            has the tag ``pruned``.
        parent: Id of the run that this one is nested under; empty if there is none.
        parent_name: Name of that run.
        model: Short name of the model.
        data: Short name of the data set.
        score_name: Metric on val that runs are compared by; empty until it is known.
        score: Value of that metric at the best epoch; None until it is known.
        seconds: Duration, until now for a running one.
        started: Local start time.
        tags: Tags by name.
        metrics: Last value of each metric by name.
        params: Params by name, as text.
    """

    id: str
    name: str
    status: str
    parent: str
    parent_name: str
    model: str
    data: str
    score_name: str
    score: float | None
    seconds: float
    started: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


def read_info(run: MlflowRun, parent_name: str = "") -> RunInfo:
    """The record of an MLflow run."""
    info, tags, metrics = run.info, run.data.tags, run.data.metrics
    score_name = tags.get("score", "").removeprefix("val/")
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


def latest_runs(limit: int) -> list[RunInfo]:
    """The latest runs, newest first.

    Args:
        limit: Largest number of runs.
    """
    client, experiment_id = open_store()
    runs = client.search_runs([experiment_id], order_by=["start_time DESC"], max_results=limit)
    names = {"": ""}
    for parent in {run.data.tags.get(PARENT, "") for run in runs} - {""}:
        try:
            names[parent] = client.get_run(parent).info.run_name
        except MlflowException:  # It was deleted for good.
            names[parent] = parent
    return [read_info(run, names[run.data.tags.get(PARENT, "")]) for run in runs]


def children(parent: Run, tags: Mapping[str, str] | None = None) -> list[RunInfo]:
    """The runs nested under a parent, oldest first.

    Args:
        parent: Parent run.
        tags: Tags that they have.
    """
    info = parent.mlflow_run.info
    wanted = {PARENT: parent.id, **(tags or {})}
    order = ["start_time ASC"]
    runs = search_runs(parent.client, [info.experiment_id], wanted, order_by=order)
    return [read_info(run, info.run_name) for run in runs]


def find_by_tags(tags: Mapping[str, str]) -> Run | None:
    """The latest run that has all of these tags and was not deleted."""
    client, experiment_id = open_store()
    runs = search_runs(client, [experiment_id], tags, order_by=["start_time DESC"], max_results=1)
    latest = next(runs, None)
    return Run(latest.info.run_id) if latest else None


def search_runs(
    client: MlflowClient, experiments: list[str], tags: Mapping[str, str], **options: Any
) -> Iterator[MlflowRun]:
    """All runs that have these tags, page by page.

    Args:
        client: Client of the store.
        experiments: Ids of the experiments to search.
        tags: Tags that the runs have.
        **options: Options of ``MlflowClient.search_runs``.
    """
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    token = None
    while token != "":
        page = client.search_runs(experiments, query, page_token=token, **options)
        yield from page
        token = page.token or ""


def find_run(run: str, key: str = "run") -> Run:
    """Finds a trained run.

    Args:
        run: Run id, its first letters as ``make runs`` shows them, or ``last``.
        key: Key of the command line, for the error message.

    Raises:
        UserError: No run matches, or several do.
    """
    client, experiment_id = open_store()
    if run == "last":
        # A sweep's parent run has no data, so it can't be meant.
        latest = client.search_runs(
            [experiment_id],
            "tags.`split.fingerprint` != ''",
            order_by=["start_time DESC"],
            max_results=1,
        )
        if not latest:
            raise UserError(f"{key}: last: no runs yet: run `make train` first")
        return Run(latest[0].info.run_id)
    try:
        stored = client.get_run(_complete(client, experiment_id, run, key))
    except MlflowException:
        raise UserError(
            f"{key}: {run}: there is no such run in {tracking_uri()}: expected a run id of "
            "`make runs`, or last"
        ) from None
    if stored.info.lifecycle_stage != "active":
        raise UserError(f"{key}: {run}: it was deleted: expected another run")
    if "split.fingerprint" not in stored.data.tags:
        raise UserError(
            f"{key}: {run}: it has trained no model itself, as the parent of a search or "
            "comparison: expected another run"
        )
    return Run(stored.info.run_id)


def _complete(client: MlflowClient, experiment_id: str, run: str, key: str) -> str:
    """The id that begins with some letters; the letters themselves if there is none."""
    if not re.fullmatch("[0-9a-f]{6,31}", run):
        return run
    runs = client.search_runs([experiment_id], f"attributes.run_id LIKE '{run}%'", max_results=2)
    if len(runs) > 1:
        raise UserError(f"{key}: {run}: several runs begin with it: expected more of the id")
    return str(runs[0].info.run_id) if runs else run


def find_model_run(model: str) -> Run:
    """The run that trained a model.

    Args:
        model: Run id, its first letters, ``last``, or a registered model such as
            ``models:/name@champion`` or ``models:/name/3``.

    Raises:
        UserError: No run or model matches.
    """
    if not model.startswith("models:/"):
        return find_run(model)
    open_store()
    try:
        with use_tracking_uri():
            run_id = get_model_info(model).run_id
    except (MlflowException, OSError):
        raise UserError(
            f"run: {model}: there is no such model: expected models:/<name>@champion"
        ) from None
    return find_run(str(run_id))


def model_id(run: Run) -> str:
    """Id of the model that a run has saved.

    Raises:
        UserError: The run has saved none.
    """
    stored = run.mlflow_run
    if stored.outputs is None or not stored.outputs.model_outputs:
        raise UserError(
            f"run: {run.id}: it is {stored.info.status} and has no model: expected a finished run "
            "of `make train`, or the winner of a sweep"
        )
    return str(stored.outputs.model_outputs[-1].model_id)


def check_same_data(run: Run, data: Data) -> None:
    """Checks that the data are those that the run was trained on.

    Raises:
        UserError: The fingerprint of the splits differs from the run's.
    """
    stored = run.mlflow_run.data.tags["split.fingerprint"]
    if data.fingerprint != stored:
        raise UserError(
            f"run: {run.id}: its data have changed, their fingerprint is "
            f"{data.fingerprint[:12]}: expected {stored[:12]}"
        )
