"""What regularisers do to the losses and to the weights."""

from collections.abc import Iterator

import numpy as np

from lessons.regularisation.figures import weight_histograms
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array

NEAR_ZERO = 1e-3


def train_loss(trained: Trained) -> Array:
    """Of each epoch, measured as on val: without dropout, smoothing and penalty."""
    return np.asarray(trained.history("val/loss")[1] - trained.history("gap/loss")[1])


def last_matrices(trained: Trained) -> Array:
    """All weights but biases and norms, after the last epoch."""
    names = [name for name, p in trained.model.named_parameters() if p.ndim > 1]
    return np.concatenate([trained.last_weights[name].numpy().ravel() for name in names])


def measure(trained: Trained) -> dict[str, float]:
    """Loss on train after the last epoch, and the share of weights near zero."""
    return {
        "fit/train_loss": float(train_loss(trained)[-1]),
        "weights/near_zero": float((np.abs(last_matrices(trained)) < NEAR_ZERO).mean()),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Histograms of the weights."""
    weights = {name: last_matrices(found[0]) for name, found in runs.items() if found}
    yield (
        "weights",
        weight_histograms(weights, NEAR_ZERO),
        "Weights of one seed after the last epoch, on a logarithmic scale, and the share of them "
        f"that is nearer to zero than {NEAR_ZERO:g}.",
    )


ANALYSIS = Analysis(("fit/train_loss", "weights/near_zero"), measure, figures)
