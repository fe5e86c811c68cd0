"""The learning-rate range test (L. Smith, arXiv:1506.01186), run by the Trainer.

Lightning's own ``Tuner.lr_find`` sets one rate for all parameter groups, always suggests a rate,
even if no loss falls, and writes a checkpoint to the working folder.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from scipy.ndimage import gaussian_filter1d

from project.config.build import build_data
from project.config.check import Config
from project.core.arrays import Array
from project.core.errors import TrainingError
from project.core.signals import stoppable
from project.figures.training import range_test
from project.tracking.run import Run
from project.training.devices import choose_devices, make_model
from project.training.loop import make_trainer

LOWEST, HIGHEST = 1e-6, 10.0
NUM_STEPS = 140  # 20 per decade
SIGMA = 7  # width in steps of the Gaussian that smooths the losses
NUM_RECENT = 5  # steps whose mean loss is compared with the best such mean
EXPLODED = 3.0  # times the best mean, above which the test ends


@dataclass(frozen=True)
class RangeTest:
    """Result of a learning-rate range test, with one loss per rate."""

    run_id: str
    rates: Array
    losses: Array
    smoothed: Array
    suggested: float | None  # rate at which the loss falls fastest; None if it does not fall
    command: str  # trains with the suggested rate; empty if there is none


class RaiseRate(Callback):
    """Raises the learning rate at each step, and stops when the loss explodes."""

    def __init__(self) -> None:
        self.rates = np.geomspace(LOWEST, HIGHEST, NUM_STEPS)
        self.losses: list[float] = []
        self._best = math.inf

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Sets the rate of the step in every parameter group."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[len(self.losses)] * group.get("lr_factor", 1.0)

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, outputs: Any, *rest: Any) -> None:
        """Records the loss."""
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            if not self.losses:
                raise TrainingError(f"train/loss is {loss} at step 1: expected a finite number")
            trainer.should_stop = True
            return
        self.losses.append(loss)
        recent = self.losses[-NUM_RECENT:]
        mean = sum(recent) / len(recent)
        if len(recent) == NUM_RECENT:
            self._best = min(self._best, mean)
        trainer.should_stop = mean > EXPLODED * self._best


def find_lr(config: Config, overrides: Sequence[str] = ()) -> RangeTest:
    """Suggests a learning rate by training a few steps while it rises.

    Args:
        config: Config of a run; its learning rate and schedule are not used.
        overrides: Config overrides, repeated in the suggested command.

    Raises:
        UserError: The config and the data don't fit together; nothing was written.
        TrainingError: The loss is not finite at the lowest rate; nothing was written.
    """
    with stoppable():
        rates, losses = _train(config)
        smoothed = smooth(losses)
        suggested = suggest(rates, smoothed)
        name = f"find-lr-{config.model_name}-{config.data_name}"
        # Without data, so that `last` never means this run.
        with Run.begin(config, None, {"mlflow.runName": name}) as run:
            run.log_params(config.flatten())
            for step, (rate, loss) in enumerate(zip(rates, losses, strict=True)):
                run.log_metrics({"lr": rate, "train/loss": loss}, step)
            if suggested is not None:
                run.log_metrics({"suggested_lr": suggested}, 0)
            run.log_figures([("learning_rate", range_test(rates, losses, smoothed, suggested))])
    command = ""
    if suggested is not None:
        # Quoted for the shell of make, in which a dollar is doubled, and for the user's own.
        words = shlex.join([*overrides, f"optimizer.lr={suggested:.2g}"])
        command = f"make train ARGS={shlex.quote(words.replace('$', '$$'))}"
    return RangeTest(run.id, rates, losses, smoothed, suggested, command)


def _train(config: Config) -> tuple[Array, Array]:
    """Rates and the loss of one batch at each, up to the rate at which it explodes."""
    devices = choose_devices(config.trainer.model_copy(update={"devices": 1}))
    data = build_data(config)
    model = make_model(config, data)
    test = RaiseRate()
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
    trainer = make_trainer(config, model, devices, [test], max_steps=NUM_STEPS, **options)
    trainer.fit(model, datamodule=data)
    return test.rates[: len(test.losses)], np.array(test.losses)


def smooth(losses: Array) -> Array:
    """Losses (N,) smoothed by a Gaussian over the neighbouring steps."""
    # Capped, so that an explosion at the end doesn't reach back.
    capped = np.minimum(losses, EXPLODED * np.median(losses))
    return np.asarray(gaussian_filter1d(capped, SIGMA, mode="nearest"))


def suggest(rates: Array, smoothed: Array) -> float | None:
    """The rising rate (N,) at which the smoothed loss (N,) falls fastest; None if it never does."""
    lowest = int(smoothed.argmin())
    start = smoothed[: 2 * SIGMA]  # too low a rate to learn anything: noise alone
    if lowest < 3 * SIGMA or smoothed[lowest] > start.mean() - 3 * start.std():
        return None
    slopes = np.gradient(smoothed, np.log(rates))
    return float(rates[2 * SIGMA + int(slopes[2 * SIGMA : lowest + 1].argmin())])


def show(result: RangeTest) -> None:
    """Prints the suggested rate and how to train with it."""
    print(f"run {result.run_id}: learning rates up to {result.rates[-1]:.2g}")
    if result.suggested is None:
        print("no suggestion: the loss does not fall at any of them")
    else:
        print(f"suggested: optimizer.lr={result.suggested:.2g}\n\n  {result.command}")
