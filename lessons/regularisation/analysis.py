"""Effect of regularisers on the losses and on the weights."""

from collections.abc import Iterator

import numpy as np

from lessons.losses import train_loss
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array

from .figures import weight_histograms

NEAR_ZERO = 1e-3


def last_matrices(trained: Trained) -> Array:
    """All weights after the last epoch, without biases and norms."""
    names = [name for name, p in trained.model.named_parameters() if p.ndim > 1]
    return np.concatenate([trained.last_weights[name].numpy().ravel() for name in names])


def near_zero(weights: Array) -> float:
    """Share of weights near zero."""
    return float((np.abs(weights) < NEAR_ZERO).mean())


def measure(trained: Trained) -> dict[str, float]:
    """Training loss after the last epoch, and the share of weights near zero."""
    return {
        "fit/train_loss": float(train_loss(trained)[-1]),
        "weights/near_zero": near_zero(last_matrices(trained)),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Histograms of the weights."""
    weights = {variant: last_matrices(of_variant[0]) for variant, of_variant in runs.items()}
    titled = {f"{name}: {near_zero(each):.1%} near 0": each for name, each in weights.items()}
    yield (
        "weights",
        weight_histograms(titled),
        "Weights of one seed after the last epoch; the counts are on a logarithmic axis. Titles "
        f"give the share of weights below {NEAR_ZERO:g} in absolute value.",
    )


ANALYSIS = Analysis(("fit/train_loss", "weights/near_zero"), measure, figures)
