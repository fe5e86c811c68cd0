"""Callbacks of the Trainer: seeding, history, pruning, early stopping, checkpoints, progress."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from tqdm import tqdm

from project.core.console import say
from project.tracking.run import Run

# Called after each epoch with (epoch, score), counting from 1; returns True to stop the run.
ShouldStop = Callable[[int, float], bool]
# Metrics with one value per epoch.
PER_EPOCH = re.compile(r"(val|gap)/.+|train/(?!(loss|penalty|lr|grad_norm)$).+")


class EpochSeed(Callback):
    """Makes dropout a function of (seed, epoch): the same before and after a resume.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds torch before the first step, because a new loader iterator draws a number too."""
        if batch_idx == 0:
            state = np.random.SeedSequence((self.seed, trainer.current_epoch)).generate_state(1)
            torch.manual_seed(int(state[0]))


class History(Callback):
    """Keeps the metrics of every epoch, in the checkpoint too.

    Args:
        run: Run in MLflow.

    Attributes:
        values: Values per epoch by metric name; ``step`` is their step in MLflow.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.values: dict[str, list[float]] = {}

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

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Reads the values from MLflow if the checkpoint is older than this callback."""
        if self.state_key not in checkpoint["callbacks"]:
            num_epochs = checkpoint["epoch"] + 1
            self.values = {"step": self.run.history("val/loss")[0].tolist()[:num_epochs]}
            for name in filter(PER_EPOCH.match, self.run.mlflow_run.data.metrics):
                self.values[name] = self.run.history(name)[1].tolist()[:num_epochs]


class Pruning(Callback):
    """Calls ``should_stop(epoch, score)`` on rank 0 after every epoch; True stops all ranks.

    Args:
        should_stop: Function to call; None never stops.
        monitor: Name of the metric passed to it.

    Attributes:
        stopped_at: Epoch after which it stopped the run, counted from 1; None if it did not.
    """

    def __init__(self, should_stop: ShouldStop | None, monitor: str) -> None:
        self.should_stop = should_stop
        self.monitor = monitor
        self.stopped_at: int | None = None

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
        moved = dict(state_dict, dirpath=self.dirpath)
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[key] = self._move(moved[key])
        moved["best_k_models"] = {self._move(k): v for k, v in moved["best_k_models"].items()}
        super().load_state_dict(moved)

    def _move(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name) if path else path


class Progress(Callback):
    """Prints a line per epoch to stderr, and a bar within the epoch on a terminal.

    Args:
        monitor: Name of the score, printed besides the losses.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._bar = tqdm(disable=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar."""
        self._bar = tqdm(
            total=int(trainer.num_training_batches),
            desc=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            unit="step",
            leave=False,
            mininterval=0.2,
            disable=not sys.stderr.isatty(),
        )

    def on_train_batch_end(self, *arguments: Any, **options: Any) -> None:
        """Advances the bar."""
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar and prints the line."""
        self._bar.close()
        values = trainer.callback_metrics
        names = dict.fromkeys(("train/loss_epoch", "val/loss", self.monitor))
        metrics = "  ".join(f"{name} {values[name].item():.4f}" for name in names)
        epoch = f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}"
        say(f"{epoch}  {metrics}  {values['train/samples_per_second'].item():,.0f} samples/s")

    def on_exception(self, *arguments: Any, **options: Any) -> None:
        """Closes the bar."""
        self._bar.close()
