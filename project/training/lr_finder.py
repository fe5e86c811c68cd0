"""Looks for a learning rate: trains some steps while it rises, until the loss explodes.

Usage: python -m project.training.lr_finder [GROUP=OPTION ...] [KEY=VALUE ...]

Takes what `python -m project.train` takes. The range test of L. Smith (arXiv:1506.01186): the rate
at which the loss falls fastest is suggested. The curve is logged to a run of its own in MLflow.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from project.cli.command import run_command
from project.core.errors import TrainingError
from project.core.signals import stoppable

if TYPE_CHECKING:
    from project.config.check import Config
    from project.core.arrays import Array
    from project.data.module import DataModule
    from project.data.samples import Batch

LOWEST, HIGHEST = 1e-6, 10.0
NUM_STEPS = 140  # 20 a decade
SIGMA = 7  # steps of the Gaussian that smooths the loss
RECENT = 5  # steps of which the mean tells that it explodes
EXPLODED = 3.0  # times the best such mean


@dataclass(frozen=True)
class RangeTest:
    """What a learning-rate range test has shown.

    Attributes:
        run_id: of the MLflow run that has the curve.
        rates: learning rates, (N,).
        losses: of a batch each, (N,).
        smoothed: running means of them, (N,).
        suggested: the rate at which the loss falls fastest; None if it doesn't fall.
    """

    run_id: str
    rates: "Array"
    losses: "Array"
    smoothed: "Array"
    suggested: float | None


def find_lr(config: "Config") -> RangeTest:
    """Trains while the learning rate rises; the model is thrown away, the test split stays sealed.

    Args:
        config: of a run; its own learning rate and schedule don't matter.

    Raises:
        UserError: something doesn't fit; nothing was written.
        TrainingError: the loss is not finite from the start; nothing was written.
    """
    import numpy as np

    from project.config.build import build_data
    from project.config.names import data_name, name_of
    from project.figures.learning_rate import range_test
    from project.tracking.run import Run
    from project.training.devices import choose_devices

    with stoppable():
        settings = config.trainer.model_copy(update={"devices": 1})
        device = choose_devices(settings).torch_device
        data = build_data(config)
        rates, losses = _train(config, data, str(device))
        smoothed = smooth(losses)
        suggested = suggest(rates, smoothed)
        name = f"find-lr-{name_of(config.model)}-{data_name(config.data)}"
        # Without data: it is no run that `last` could mean.
        with Run.begin(config, None, {"mlflow.runName": name}) as run:
            run.log_params(config.flatten())
            for step, (rate, loss) in enumerate(zip(rates, losses, strict=True)):
                run.log_metrics({"lr": float(rate), "train/loss": float(loss)}, step)
            if suggested is not None:
                run.log_metrics({"suggested_lr": suggested}, 0)
            figure = range_test(rates, losses, smoothed, suggested)
            run.log_figures([("learning_rate", figure)])
    return RangeTest(run.id, np.asarray(rates), np.asarray(losses), smoothed, suggested)


def _train(config: "Config", data: "DataModule", device: str) -> "tuple[Array, Array]":
    """Rates, and the loss of a batch at each, up to where it explodes."""
    import numpy as np
    import torch

    from project.training.devices import make_model

    model = make_model(config, data).to(device).train()
    optimizer = model.make_optimizer()
    factors = [group.get("lr_factor", 1.0) for group in optimizer.param_groups]
    rates = np.geomspace(LOWEST, HIGHEST, NUM_STEPS)
    losses: list[float] = []
    best = math.inf
    torch.manual_seed(config.seed)
    model.on_train_epoch_start()
    for rate, (inputs, targets) in zip(rates, _batches(data), strict=False):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        loss = model.training_step((inputs.to(device), targets.to(device)), 0)
        value = loss.item()
        if not math.isfinite(value):
            break
        losses.append(value)
        recent = sum(losses[-RECENT:]) / len(losses[-RECENT:])
        best = min(best, recent) if len(losses) >= RECENT else best
        if recent > EXPLODED * best:
            break
        optimizer.zero_grad()
        loss.backward()
        model.configure_gradient_clipping(optimizer)
        optimizer.step()
    if not losses:
        raise TrainingError(f"train/loss is {value} at step 1: expected a finite number")
    return rates[: len(losses)], np.array(losses)


def _batches(data: "DataModule") -> "Iterator[Batch]":
    """Training batches without end, epoch by epoch."""
    loader = data.train_dataloader()
    epoch = 0
    while True:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader
        epoch += 1


def smooth(losses: "Array") -> "Array":
    """Running means (N,), weighed by a Gaussian over the steps before and after."""
    import numpy as np
    from scipy.ndimage import gaussian_filter1d

    # What explodes at the end must not reach back over what comes before.
    capped = np.minimum(losses, EXPLODED * np.median(losses))
    return np.asarray(gaussian_filter1d(capped, SIGMA, mode="nearest"))


def suggest(rates: "Array", smoothed: "Array") -> float | None:
    """The rate at which the smoothed loss falls fastest; None if it doesn't fall.

    Args:
        rates: (N,), rising.
        smoothed: (N,) losses.
    """
    import numpy as np

    lowest = int(smoothed.argmin())
    if lowest < 3 * SIGMA:
        return None
    start = smoothed[: 2 * SIGMA]  # rates at which nothing is learnt yet: noise alone
    if smoothed[lowest] > start.mean() - 3 * start.std():
        return None
    slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
    return float(rates[2 * SIGMA :][int(slopes[2 * SIGMA :].argmin())])


def main(arguments: Sequence[str]) -> None:
    """Runs the test for a command line and says how to use the result."""
    import shlex

    from project.config.check import check
    from project.config.compose import compose

    found = find_lr(check(compose("train", arguments)))
    print(f"run {found.run_id}: learning rates up to {found.rates[-1]:.2g}")
    if found.suggested is None:
        print("no suggestion: the loss doesn't fall at any of them")
        return
    rate = f"optimizer.lr={found.suggested:.2g}"
    # Once for the shell that make starts, to which a dollar is two, and once for the user's own.
    overrides = shlex.quote(shlex.join([*arguments, rate]).replace("$", "$$"))
    print(f"suggested: {rate}\n\n  make train ARGS={overrides}")


if __name__ == "__main__":
    run_command(main, __doc__)
