"""Figures of a training run: learning curves and augmented samples."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import MARK, TRAIN, VAL, as_label, clean, grid, new_figure, show_image


def learning_curves(curves: Mapping[str, tuple[Array, Array]], best_epoch: int) -> Figure:
    """Draws train and val over the epochs, one panel per metric.

    Args:
        curves: Values on train and on val, one per epoch, by metric.
        best_epoch: Epoch to mark, from 1.
    """
    figure = new_figure(5.2 * len(curves), 3.6)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, (train, val)) in zip(panels, curves.items(), strict=True):
        for values, label, colour in ((train, "train", TRAIN), (val, "val", VAL)):
            axes.plot(np.arange(1, len(values) + 1), values, ".-", color=colour, label=label)
        best = val[best_epoch - 1]
        axes.axvline(best_epoch, color=MARK, linestyle=":", linewidth=1)
        axes.plot(best_epoch, best, "o", color=VAL, markersize=9, markerfacecolor="none")
        axes.set_title(f"best epoch {best_epoch}: val/{name} {best:.4g}", fontsize=10)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if len(val) == 1:
            axes.set_xlim(0.5, 1.5)
        both = np.concatenate([train, val])
        if name == "loss" and both.min() > 0 and both.max() > 10 * both.min():
            axes.set_yscale("log")
        axes.legend(frameon=False)
        clean(axes)
    return figure


def augmentation_sheet(
    before: Array,
    after: Sequence[Array],
    labels: Sequence[str],
    max_samples: int = 8,
    rows: Sequence[str] = (),
) -> Figure:
    """Shows original samples above their augmented versions in several epochs.

    Args:
        before: Original images (N, H, W, C) uint8.
        after: Augmented images (N, H, W, C) uint8 of each epoch.
        labels: Names of the samples; empty for none.
        max_samples: Maximum number of samples shown.
        rows: Names of the rows; empty for ``original``, ``epoch 1``, ``epoch 2``, ...
    """
    num_samples = min(max_samples, len(before))
    names = rows or ["original", *(f"epoch {n}" for n in range(1, len(after) + 1))]
    figure, cells = grid((1 + len(after)) * num_samples, num_samples)
    for row, images in enumerate([before, *after]):
        in_row = cells[row * num_samples : (row + 1) * num_samples]
        for column, axes in enumerate(in_row):
            title = as_label(labels[column], 14) if labels and row == 0 else ""
            show_image(axes, images[column], title)
        in_row[0].set_ylabel(as_label(names[row]), fontsize=8)
    return figure
