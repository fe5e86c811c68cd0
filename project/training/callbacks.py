"""Callbacks of the Trainer: history, pruning, early stopping, checkpoints, progress."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from project.config.check import Config
from project.core.console import say
from project.models.base import Model
from project.tracking.run import Run

# Called after each epoch with (epoch, score), counting from 1; returns True to stop the run.
ShouldStop = Callable[[int, float], bool]
# Metrics with one value per epoch.
PER_EPOCH = re.compile(r"(val|gap)/.+|train/(?!(loss|penalty|lr|grad_norm)$).+")


class History(Callback):
    """Keeps the metrics of every epoch of a run, in the checkpoint too."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.values: dict[str, list[float]] = {}  # by metric; ``step`` is their step in MLflow

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Appends the epoch's values."""
        metrics = {k: v.item() for k, v in trainer.callback_metrics.items() if PER_EPOCH.match(k)}
        for name, value in {"step": trainer.global_step - 1, **metrics}.items():
            self.values.setdefault(name, []).append(value)

    def state_dict(self) -> dict[str, Any]:
        """The values, for the checkpoint."""
        return {"values": self.values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the values of a checkpoint."""
        self.values = state_dict["values"]

    def on_load_checkpoint(self, *arguments: Any) -> None:
        """Reads the values from MLflow if the checkpoint is older than this callback."""
        checkpoint: dict[str, Any] = arguments[-1]
        if self.state_key not in checkpoint["callbacks"]:
            num_epochs = checkpoint["epoch"] + 1
            self.values = {"step": self.run.history("val/loss")[0].tolist()[:num_epochs]}
            for name in filter(PER_EPOCH.match, self.run.mlflow_run.data.metrics):
                self.values[name] = self.run.history(name)[1].tolist()[:num_epochs]


class Pruning(Callback):
    """Calls ``should_stop(epoch, score)``, if any, on rank 0 after an epoch; True stops all."""

    def __init__(self, should_stop: ShouldStop | None, monitor: str) -> None:
        self.should_stop = should_stop
        self.monitor = monitor
        self.stopped_at: int | None = None  # epoch after which it stopped the run, from 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decides; the trainer still saves this epoch's checkpoint before it stops."""
        epoch, is_over, stop = trainer.current_epoch + 1, trainer.should_stop, False
        if self.should_stop is not None and trainer.is_global_zero:
            stop = self.should_stop(epoch, trainer.callback_metrics[self.monitor].item())
        if trainer.strategy.broadcast(stop) and not is_over and epoch != trainer.max_epochs:
            trainer.should_stop = True
            self.stopped_at = epoch


class Patience(EarlyStopping):
    """Early stopping that also stops a resumed run at once if its patience was used up."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checks the patience that the checkpoint has left."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Checkpoint(ModelCheckpoint):
    """Finds its files in a moved folder, where Lightning forgets the best one."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state, with paths in today's folder."""

        def move(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = state_dict | {key: move(state_dict[key]) for key in paths}
        moved["best_k_models"] = {move(k): v for k, v in state_dict["best_k_models"].items()}
        super().load_state_dict(moved | {"dirpath": self.dirpath})


class Progress(Callback):
    """Prints the losses and the score per epoch to stderr; on a terminal, a bar within it too."""

    def __init__(self, monitor: str) -> None:
        self.names = dict.fromkeys(("train/loss_epoch", "val/loss", monitor))
        self._bar = tqdm(disable=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar."""
        title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        total, disable = int(trainer.num_training_batches), not sys.stderr.isatty()
        options = {"unit": "step", "leave": False, "mininterval": 0.2}
        self._bar = tqdm(desc=title, total=total, disable=disable, **options)

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Advances the bar."""
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar and prints the line."""
        self._bar.close()
        values = trainer.callback_metrics
        metrics = "  ".join(f"{name} {values[name].item():.4f}" for name in self.names)
        epoch = f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}"
        say(f"{epoch}  {metrics}  {values['train/samples_per_second'].item():,.0f} samples/s")

    def on_exception(self, *arguments: Any) -> None:
        """Closes the bar."""
        self._bar.close()


def make_callbacks(config: Config, model: Model, run: Run) -> list[Callback]:
    """Averaging and early stopping if the config has them, and the checkpoints."""
    monitor, mode = f"val/{model.task.score}", model.task.mode
    callbacks: list[Callback] = []
    if (decay := config.trainer.ema_decay) is not None:
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(decay)))
    if (patience := config.trainer.patience) is not None:
        callbacks.append(Patience(monitor, mode=mode, patience=patience))
    options: Any = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    # Two, because `save_last` saves only in epochs that are among the best; `last` comes last, as
    # it holds the state of the other callbacks.
    for path, score in ((run.best_checkpoint, monitor), (run.last_checkpoint, None)):
        callbacks.append(Checkpoint(run.folder, path.stem, score, mode=mode, **options))
    return callbacks
