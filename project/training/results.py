"""The result of a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from project.models.tasks import Task

History = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class FitResult:
    """Result of a training run: its best epoch, and the metrics of every epoch."""

    run_id: str
    score_name: str  # metric on val that selects the best epoch, such as `accuracy`
    score: float  # of the best epoch
    best_epoch: int  # counted from 1; the earliest of several with equal scores
    num_epochs: int
    metrics: Mapping[str, float]  # on val at the best epoch, by name, such as `loss`
    history: History  # values per epoch by name, such as `val/loss`; `step` is MLflow's step
    seconds: float  # of a resumed run, only since it was resumed

    @classmethod
    def of(cls, run_id: str, history: History, task: Task, seconds: float) -> "FitResult":
        """The result with the best epoch of a history."""
        scores = history[f"val/{task.score}"]
        score = max(scores) if task.mode == "max" else min(scores)
        best, count = scores.index(score), len(scores)
        values = {name: each[best] for name, each in history.items()}
        metrics = {k.removeprefix("val/"): v for k, v in values.items() if k.startswith("val/")}
        return cls(run_id, task.score, score, best + 1, count, metrics, history, seconds)

    @property
    def best_step(self) -> int:
        """Step in MLflow of the best epoch's metrics."""
        return int(self.history["step"][self.best_epoch - 1])
