"""Figures of overfitting and of splits."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.figures.style import COLOURS, MARK, TRAIN, VAL, clean, legend_above, new_figure
from project.types import Array


def parting(curves: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Losses on train and val over the epochs, the epoch of the least loss on val marked.

    Args:
        curves: (epochs,) of train and of val, by variant.
    """
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.4 * columns, 2.5 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, (train, val)) in zip(panels, curves.items(), strict=False):
        epochs = np.arange(1, len(val) + 1)
        best = int(val.argmin())
        axes.plot(epochs, train, color=TRAIN, label="train")
        axes.plot(epochs, val, color=VAL, label="val")
        axes.axvline(best + 1, color=MARK, linestyle=":", label="least on val")
        axes.set_yscale("log")
        axes.set_title(f"{name}: epoch {best + 1}", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        clean(axes)
    for axes in panels[::columns]:
        axes.set_ylabel("loss")
    for axes in panels[len(curves) :]:
        axes.axis("off")
    legend_above(figure, panels[0])
    return figure


def splits(scores: Mapping[str, Array], sizes: Mapping[str, tuple[int, int]]) -> Figure:
    """Pairs of accuracies on val and test, a panel for each way to split.

    Args:
        scores: (seeds, 2) by split, val and test.
        sizes: samples in val and test, by split.
    """
    figure = new_figure(2.8 * len(scores), 3.2)
    panels = figure.subplots(1, len(scores), squeeze=False, sharey=True).ravel()
    for place, (axes, (name, pairs)) in enumerate(zip(panels, scores.items(), strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        for pair in pairs:
            axes.plot([0, 1], pair, "o-", color=colour, alpha=0.7, markersize=5)
        val, test = sizes[name]
        axes.set_xticks([0, 1], [f"val\n{val} samples", f"test\n{test} samples"])
        axes.set_xlim(-0.4, 1.4)
        axes.set_title(f"train/val/test {name}", fontsize=10)
        clean(axes)
    panels[0].set_ylabel("accuracy")
    return figure
