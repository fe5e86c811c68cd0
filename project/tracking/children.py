"""Parent runs, and the runs nested under them in MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from project.core.errors import UserError
from project.tracking import lineage
from project.tracking.run import Run
from project.tracking.store import open_store, tracking_uri
from project.tracking.writer import MAX_BATCH


def create_parent(name: str, tags: Mapping[str, str]) -> Run:
    """Opens a parent run, which is RUNNING.

    Args:
        name: Run name in the UI.
        tags: Further tags.
    """
    client, experiment_id = open_store()
    all_tags = {"mlflow.runName": name, **lineage.source_tags(), **tags}
    parent = Run(client.create_run(experiment_id, tags=all_tags).info.run_id)
    parent.log_text(lineage.command_line() + "\n", "command.txt")
    return parent


def find_parent(run_id: str) -> Run:
    """Returns the parent run of a study.

    Raises:
        UserError: This store doesn't have it, or it was deleted.
    """
    parent, fault = Run(run_id), "was deleted"
    try:
        if parent.mlflow_run.info.lifecycle_stage == "active":
            return parent
    except MlflowException:
        fault = f"isn't in {tracking_uri()}"
    raise UserError(
        f"sweep.study: its run {run_id} {fault}: expected the study's own MLFLOW_TRACKING_URI, or "
        "STUDY= with a new name"
    )


@contextmanager
def opened(parent: Run) -> Iterator[None]:
    """Keeps the parent RUNNING for the block; then closes it according to how the block ended."""
    parent.client.update_run(parent.id, status="RUNNING")
    if "failure" in parent.mlflow_run.data.tags:  # An earlier attempt has failed.
        parent.client.delete_tag(parent.id, "failure")
    try:
        yield
    except BaseException as error:
        parent.close(error)
        raise
    parent.close(None)


def close_run(run_id: str, status: str, failure: str) -> None:
    """Closes a run whose process is gone.

    Args:
        run_id: MLflow run id.
        status: Final status, ``KILLED`` or ``FAILED``.
        failure: Reason, stored as a tag.
    """
    run = Run(run_id)
    run.set_tags({"failure": failure})
    run.client.set_terminated(run_id, status)


def log_series(run: Run, name: str, points: Sequence[tuple[int, float, int]]) -> None:
    """Logs a metric; points that are stored already are not duplicated.

    Args:
        run: Run that the metric belongs to.
        name: Metric name.
        points: Step, value and time in milliseconds since 1970 of each point.
    """
    for start in range(0, len(points), MAX_BATCH):
        batch = points[start : start + MAX_BATCH]
        metrics = [Metric(name, value, time, step) for step, value, time in batch]
        run.client.log_batch(run.id, metrics=metrics)
