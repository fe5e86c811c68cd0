"""A parent run, and the runs that are nested under it in MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from project.core.errors import UserError
from project.tracking import lineage
from project.tracking.run import Run
from project.tracking.store import open_store, tracking_uri

PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Child:
    """A run nested under a parent.

    Attributes:
        id: of the run.
        status: ``RUNNING``, ``FINISHED``, ``KILLED`` or ``FAILED``.
        tags: by name.
        metrics: the last value of each.
    """

    id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def create_parent(name: str, tags: Mapping[str, str]) -> Run:
    """Opens a parent run, which is RUNNING.

    Args:
        name: shown in the UI.
        tags: further tags.
    """
    client, experiment_id = open_store()
    all_tags = {"mlflow.runName": name, **lineage.source_tags(), **tags}
    created = client.create_run(experiment_id, tags=all_tags)
    parent = Run(created.info.run_id)
    parent.log_text(lineage.command_line() + "\n", "command.txt")
    return parent


def find_parent(run_id: str) -> Run:
    """Finds the parent again.

    Raises:
        UserError: it isn't in this store, or was deleted.
    """
    parent = Run(run_id)
    try:
        found = parent.mlflow_run
    except MlflowException:
        raise UserError(
            f"sweep.study: its run {run_id} isn't in {tracking_uri()}: expected the same "
            "MLFLOW_TRACKING_URI wherever a study is worked on, or STUDY= with a new name"
        ) from None
    if found.info.lifecycle_stage != "active":
        raise UserError(
            f"sweep.study: its run {run_id} was deleted: expected STUDY= with a new name"
        )
    return parent


def find_by_tags(tags: Mapping[str, str]) -> Run | None:
    """The latest run with all of these tags, unless it was deleted."""
    client, experiment_id = open_store()
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_runs([experiment_id], query, order_by=["start_time DESC"], max_results=1)
    return Run(found[0].info.run_id) if found else None


def children(parent: Run, tags: Mapping[str, str] | None = None) -> list[Child]:
    """The runs nested under a parent, oldest first.

    Args:
        parent: of them.
        tags: that they must have.
    """
    wanted = {PARENT: parent.id, **(tags or {})}
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    found: list[Child] = []
    token = None
    while True:
        page = parent.client.search_runs(
            [parent.mlflow_run.info.experiment_id],
            query,
            order_by=["start_time ASC"],
            page_token=token,
        )
        found += [
            Child(run.info.run_id, run.info.status, run.data.tags, run.data.metrics) for run in page
        ]
        token = page.token
        if not token:
            return found


@contextmanager
def opened(parent: Run) -> Iterator[None]:
    """In the context the parent is RUNNING; MLflow is told how it ended when the context does."""
    parent.client.update_run(parent.id, status="RUNNING")
    if "failure" in parent.mlflow_run.data.tags:  # of an earlier start
        parent.client.delete_tag(parent.id, "failure")
    try:
        yield
    except BaseException as error:
        parent.close(error)
        raise
    parent.close(None)


def close(run_id: str, status: str, failure: str) -> None:
    """Closes a run whose process is gone.

    Args:
        run_id: of the run.
        status: that it ends with.
        failure: why, for its tag.
    """
    run = Run(run_id)
    run.set_tags({"failure": failure})
    run.client.set_terminated(run_id, status)


def log_series(run: Run, name: str, points: Sequence[tuple[int, float, int]]) -> None:
    """Logs a metric; points that are there already are kept once.

    Args:
        run: that it belongs to.
        name: of the metric.
        points: step, value and milliseconds since 1970 of each.
    """
    for start in range(0, len(points), 1000):
        metrics = [
            Metric(name, value, at, step) for step, value, at in points[start : start + 1000]
        ]
        run.client.log_batch(run.id, metrics=metrics)
