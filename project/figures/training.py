"""Figures of a training run: learning curves, and what augmentation does to the samples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import MARK, TRAIN, VAL, as_label, clean, grid, new_figure, show_image


def learning_curves(curves: dict[str, tuple[Array, Array]], best_epoch: int) -> Figure:
    """Draws train and val over the epochs, side by side for each metric.

    Args:
        curves: by name of the metric: its values on train and on val, one an epoch.
        best_epoch: from 1; marked.
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
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
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
    """Shows samples as they are and below them as several epochs see them.

    Args:
        before: (N, H, W, C) uint8.
        after: the same samples in further epochs, each (N, H, W, C) uint8.
        labels: a name for each sample; none for no names.
        max_samples: columns of the sheet.
        rows: their names; by default the epochs.
    """
    num_samples = min(max_samples, len(before))
    names = rows or ["as it is", *(f"epoch {n}" for n in range(1, len(after) + 1))]
    figure, cells = grid((1 + len(after)) * num_samples, num_samples)
    for row, images in enumerate([before, *after]):
        for column in range(num_samples):
            axes = cells[row * num_samples + column]
            show_image(
                axes, images[column], as_label(labels[column], 14) if labels and row == 0 else ""
            )
            if column == 0:
                axes.set_ylabel(as_label(names[row]), fontsize=8)
    return figure
