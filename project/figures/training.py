"""Figures of training: learning curves, augmented samples and a learning-rate range test."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import (
    MARK,
    TRAIN,
    VAL,
    as_label,
    image_rows,
    label_epochs,
    panel,
    panels,
    set_log_scale,
)


def plot_train_and_val(axes: Axes, train: Array, val: Array, best_epoch: int | None) -> None:
    """Values (epochs,) on train and val, and a line at the best epoch, counted from 1."""
    for values, label, colour in ((train, "train", TRAIN), (val, "val", VAL)):
        axes.plot(np.arange(1, len(values) + 1), values, ".-", color=colour, label=label)
    # NaN is not drawn, but puts the line into the legend.
    axes.axvline(best_epoch or np.nan, color=MARK, linestyle=":", linewidth=1, label="best epoch")
    label_epochs(axes, len(val))


def learning_curves(curves: Mapping[str, tuple[Array, Array]], best_epoch: int) -> Figure:
    """Values (epochs,) on train and val, one panel per metric; marks an epoch, counted from 1."""
    figure, cells = panels(len(curves), len(curves), (5.2, 3.6), 0.0)
    for axes, (name, (train, val)) in zip(cells, curves.items(), strict=True):
        plot_train_and_val(axes, train, val, best_epoch)
        best = val[best_epoch - 1]
        axes.plot(best_epoch, best, "o", color=VAL, markersize=9, markerfacecolor="none")
        axes.set_title(f"best epoch {best_epoch}: val/{name} {best:.4g}", fontsize=10)
        axes.set_ylabel(name)
        if name == "loss":
            set_log_scale(axes, "y", [train, val], 10)
        axes.legend(frameon=False)
    return figure


def augmentation_sheet(
    before: Array, after: Sequence[Array], labels: Sequence[str], rows: Sequence[str] = ()
) -> Figure:
    """Original samples (N, H, W, C) uint8 above augmented versions of them.

    Args:
        labels: Names of the samples; empty for none.
        rows: Names of the rows; empty for ``original``, ``epoch 1``, ``epoch 2``, ...
    """
    rows = rows or ["original", *(f"epoch {n}" for n in range(1, len(after) + 1))]
    titles = {0: [as_label(label, 14) for label in labels]}
    return image_rows([as_label(row) for row in rows], [before, *after], titles)


def range_test(rates: Array, losses: Array, smoothed: Array, suggested: float | None) -> Figure:
    """Loss (N,) of one batch per learning rate, and its moving average.

    Args:
        rates: Increasing learning rates (N,).
        suggested: Learning rate to mark; None marks none.
    """
    figure, axes = panel(6.4, 3.8, xscale="log", xlabel="learning rate", ylabel="loss")
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
    axes.legend(frameon=False, loc="lower left")
    return figure
