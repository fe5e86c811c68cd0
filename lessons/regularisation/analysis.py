"""Effect of regularisers on the losses and on the weights."""

from collections.abc import Iterator, Mapping
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.figures.style import COLOURS, panels


def last_matrices(trained: Trained) -> Array:
    """All weights after the last epoch, without biases and norms."""
    names = [name for name, p in trained.model.named_parameters() if p.ndim > 1]
    return np.concatenate([trained.last_weights[name].numpy().ravel() for name in names])


def near_zero(weights: Array) -> float:
    """Share of weights near zero."""
    return float((np.abs(weights) < 1e-3).mean())


def measure(trained: Trained) -> dict[str, float]:
    """Last training loss, measured as on val, and the share of weights near zero."""
    return {
        "fit/train_loss": trained.metrics["val/loss"] - trained.metrics["gap/loss"],
        "weights/near_zero": near_zero(last_matrices(trained)),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Histograms of the weights."""
    weights = {variant: last_matrices(of_variant[0]) for variant, of_variant in runs.items()}
    titled = {f"{name}: {near_zero(each):.1%} near 0": each for name, each in weights.items()}
    yield "weights", draw_weights(titled)


def draw_weights(weights: Mapping[str, Array]) -> Figure:
    """One histogram of weights (N,) per network, by title, all on the same axes."""
    figure, cells = panels(len(weights), 4, (2.7, 2.2), 0.3, sharex=True, sharey=True)
    reach = max(float(np.quantile(np.abs(each), 0.999)) for each in weights.values())
    bins = np.linspace(-reach, reach, 81).tolist()
    for colour, axes, (title, each) in zip(cycle(COLOURS), cells, weights.items(), strict=False):
        axes.hist(each, bins=bins, color=colour, log=True)
        axes.set_title(title, fontsize=9)
    figure.supxlabel("weight", fontsize=10)
    figure.supylabel("weights per bin", fontsize=10)
    return figure


ANALYSIS = Analysis(("fit/train_loss", "weights/near_zero"), measure, figures)
