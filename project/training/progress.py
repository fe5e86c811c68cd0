"""Shows how training gets on: a line an epoch, and a bar within the epoch on a terminal."""

import sys
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm


class Progress(Callback):
    """Prints to stderr.

    Args:
        monitor: the metric that the run is judged by, printed besides the losses.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._bar: tqdm[None] | None = None

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

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the line."""
        self._close()
        values = trainer.callback_metrics
        names = dict.fromkeys(("train/loss_epoch", "val/loss", self.monitor))
        metrics = "  ".join(f"{name} {values[name].item():.4f}" for name in names)
        speed = values["train/samples_per_second"].item()
        print(
            f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}  {metrics}  "
            f"{speed:,.0f} samples/s",
            file=sys.stderr,
        )

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Removes the bar."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
