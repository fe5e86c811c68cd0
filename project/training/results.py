"""The result of a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

History = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class FitResult:
    """Result of a training run: its best epoch, and the metrics of every epoch.

    Attributes:
        run_id: MLflow run id.
        score_name: Metric on val that selects the best epoch, such as ``accuracy``.
        score: Score of the best epoch.
        best_epoch: Best epoch, counted from 1; the earliest of several with equal scores.
        num_epochs: Number of epochs trained.
        metrics: Metrics on val at the best epoch, by name, such as ``loss``.
        history: Values per epoch by metric name, such as ``val/loss``; ``step`` is their step in
            MLflow.
        seconds: Duration of the training in seconds; of a resumed run, only since it was resumed.
    """

    run_id: str
    score_name: str
    score: float
    best_epoch: int
    num_epochs: int
    metrics: Mapping[str, float]
    history: History
    seconds: float

    @classmethod
    def of(
        cls,
        run_id: str,
        history: History,
        score_name: str,
        mode: Literal["min", "max"],
        seconds: float,
    ) -> "FitResult":
        """The result with the best epoch of a history."""
        scores = history[f"val/{score_name}"]
        score = max(scores) if mode == "max" else min(scores)
        best = scores.index(score)
        return cls(
            run_id=run_id,
            score_name=score_name,
            score=score,
            best_epoch=best + 1,
            num_epochs=len(scores),
            metrics={
                name.removeprefix("val/"): values[best]
                for name, values in history.items()
                if name.startswith("val/")
            },
            history=history,
            seconds=seconds,
        )

    @property
    def best_step(self) -> int:
        """Step in MLflow of the best epoch's metrics."""
        return int(self.history["step"][self.best_epoch - 1])
