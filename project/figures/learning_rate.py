"""The loss over a rising learning rate."""

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import MARK, TRAIN, VAL, clean, new_figure


def range_test(rates: Array, losses: Array, smoothed: Array, suggested: float | None) -> Figure:
    """Draws the losses of a learning-rate range test.

    Args:
        rates: (N,) learning rates, rising.
        losses: (N,) of a batch each.
        smoothed: (N,) running means of them.
        suggested: a rate that is marked; None if there is none.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    axes.plot(rates, losses, ".", color=TRAIN, alpha=0.35, markersize=4, label="a batch")
    axes.plot(rates, smoothed, "-", color=TRAIN, label="smoothed")
    if suggested is not None:
        height = float(np.interp(np.log(suggested), np.log(rates), smoothed))
        axes.axvline(suggested, color=MARK, linestyle=":", linewidth=1)
        axes.plot(suggested, height, "o", color=VAL, label=f"suggested: {suggested:.2g}")
    axes.set_xscale("log")
    # What explodes at the end would press the rest flat.
    start = smoothed[: max(1, len(smoothed) // 4)].max()
    finite = smoothed[np.isfinite(smoothed)]
    low, high = float(finite.min()), float(max(start * 1.4, start + finite.std()))
    axes.set_ylim(low - 0.08 * (high - low), high)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="lower left")
    clean(axes)
    return figure
