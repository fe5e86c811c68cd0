"""The Lightning logger of a run."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import Logger
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from project.core.errors import TrainingError
from project.core.signals import defer_stop_signals
from project.tracking.run import Run
from project.tracking.store import tracking_uri
from project.tracking.writer import MetricWriter


class RunLogger(Logger):
    """Passes metrics to the writer; the run itself is opened and closed outside the Trainer.

    Args:
        run_id: MLflow run id.
        writer: Sends the metrics to MLflow.
    """

    def __init__(self, run_id: str, writer: MetricWriter) -> None:
        super().__init__()
        self._run_id = run_id
        self._writer = writer

    @property
    def name(self) -> str:
        """Name of the tracker."""
        return "mlflow"

    @property
    def version(self) -> str:
        """MLflow run id."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Buffers metrics of a step; tensors are read later, in the writer's thread."""
        self._writer.add(metrics, step or 0)

    def save(self) -> None:
        """Writes the buffered metrics to the spool, which survives a killed process."""
        self._writer.save()

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Does nothing: the run's config is logged when it is opened."""


@contextmanager
def metric_logger(run: Run, enabled: bool = True) -> Iterator[RunLogger | None]:
    """Opens a logger; all its metrics are sent when the block ends, however it ends.

    Args:
        run: Run that the metrics belong to.
        enabled: False yields None, for the processes that don't log.
    """
    if not enabled:
        yield None
        return
    sample = system_metrics(run.id, run.mlflow_run.info.start_time / 1000)
    writer = MetricWriter(run.client, run.id, run.folder / "metrics.jsonl", sample=sample)
    try:
        yield RunLogger(run.id, writer)
    except BaseException:
        # If another process has died, the launcher's SIGTERM follows its error at once.
        with defer_stop_signals():
            writer.close()
        raise
    if not writer.close():
        raise TrainingError(
            f"MLflow is unreachable: run {run.id} can be resumed later, {run.folder} keeps its "
            "metrics"
        )


def system_metrics(run_id: str, started: float) -> Callable[[], tuple[dict[str, float], int]]:
    """Returns a function that samples MLflow's system metrics: values by name, and a step.

    MLflow's own thread reads the whole run from the store at each sample, which slows training.

    Args:
        run_id: MLflow run id.
        started: Start time in seconds since 1970; the step is the number of seconds since then.
    """
    monitor = SystemMetricsMonitor(run_id, tracking_uri=tracking_uri())
    monitor.collect_metrics()  # CPU usage is measured between two calls.

    def sample() -> tuple[dict[str, float], int]:
        monitor.collect_metrics()
        metrics = {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
        for each in monitor.monitors:
            each.clear_metrics()
        return metrics, int(time.time() - started)

    return sample
