"""The Lightning logger of a run."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger

from project.tracking.writer import MetricWriter


class RunLogger(Logger):
    """Hands metrics to the writer; the run itself is opened and closed outside the Trainer.

    Args:
        run_id: of the MLflow run.
        writer: that sends its metrics.
    """

    def __init__(self, run_id: str, writer: MetricWriter) -> None:
        super().__init__()
        self._run_id = run_id
        self._writer = writer

    @property
    def name(self) -> str:
        """The tracker."""
        return "mlflow"

    @property
    def version(self) -> str:
        """The run."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Takes metrics of a step; tensors are read later, in the writer's thread."""
        self._writer.add(metrics, step or 0)

    def save(self) -> None:
        """Makes what was logged so far survive a killed process."""
        self._writer.save()

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the run's config is logged when it is opened."""
