"""Figure of a learning-rate range test."""

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import MARK, TRAIN, VAL, clean, new_figure


def range_test(rates: Array, losses: Array, smoothed: Array, suggested: float | None) -> Figure:
    """Draws the loss over the learning rate.

    Args:
        rates: Increasing learning rates (N,).
        losses: Loss (N,) of one batch per learning rate.
        smoothed: Moving averages (N,) of the losses.
        suggested: Learning rate to mark; None marks none.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    axes.plot(rates, losses, ".", color=TRAIN, alpha=0.35, markersize=4, label="one batch")
    axes.plot(rates, smoothed, "-", color=TRAIN, label="smoothed")
    if suggested is not None:
        height = float(np.interp(np.log(suggested), np.log(rates), smoothed))
        axes.axvline(suggested, color=MARK, linestyle=":", linewidth=1)
        axes.plot(suggested, height, "o", color=VAL, label=f"suggested: {suggested:.2g}")
    # Limit the y-axis, because diverging losses at the end would flatten the rest of the curve.
    start = smoothed[: max(1, len(smoothed) // 4)].max()
    finite = smoothed[np.isfinite(smoothed)]
    low, high = float(finite.min()), float(max(start * 1.4, start + finite.std()))
    axes.set_ylim(low - 0.08 * (high - low), high)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend(frameon=False, loc="lower left")
    clean(axes)
    return figure
