"""Figures of a regressor: predicted against true values, and residuals."""

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import MARK, VAL, clean, new_figure


def predicted_against_true(targets: Array, predictions: Array) -> Figure:
    """Draws a point a sample; a perfect prediction lies on the diagonal.

    Args:
        targets: (N,) in their own unit.
        predictions: (N,) likewise.
    """
    figure = new_figure(5, 4.6)
    axes = figure.subplots()
    axes.scatter(targets, predictions, s=16, alpha=0.6, color=VAL, edgecolors="none")
    low, high = np.min([targets, predictions]), np.max([targets, predictions])
    axes.plot([low, high], [low, high], color=MARK, linewidth=1, linestyle="--", label="perfect")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.set_title(f"val: {len(targets)} samples", fontsize=10)
    axes.legend(frameon=False)
    clean(axes)
    return figure


def residuals(targets: Array, predictions: Array) -> Figure:
    """Draws what is left (true - predicted) over the prediction, and its distribution.

    Args:
        targets: (N,) in their own unit.
        predictions: (N,) likewise.
    """
    rest = targets - predictions
    figure = new_figure(7.5, 3.8)
    over, along = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    over.scatter(predictions, rest, s=16, alpha=0.6, color=VAL, edgecolors="none")
    over.set_xlabel("predicted")
    over.set_ylabel("true - predicted")
    along.hist(rest, bins=20, orientation="horizontal", color=VAL, alpha=0.7)
    along.set_xlabel("samples")
    for axes in (over, along):
        axes.axhline(0, color=MARK, linewidth=1, linestyle="--")
        clean(axes)
    over.set_title(f"val: mean {rest.mean():.3g}, standard deviation {rest.std():.3g}", fontsize=10)
    return figure
