"""Figures of overfitting and of splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Array
from project.figures.style import COLOURS, MARK, TRAIN, VAL, clean, label_left, legend_above, panels


def parting(curves: Mapping[str, tuple[Array, Array, int | None]]) -> Figure:
    """Losses on train and val over the epochs, with the epoch of the smallest loss on val.

    Args:
        curves: Losses on train and val (epochs,), and that epoch or None, by variant.
    """
    figure, cells = panels(len(curves), 3, (3.4, 2.5), sharey=True)
    for axes, (name, (train, val, parted)) in zip(cells, curves.items(), strict=True):
        epochs = np.arange(1, len(val) + 1)
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, train, marker=marker, color=TRAIN, label="train")
        axes.plot(epochs, val, marker=marker, color=VAL, label="val")
        # NaN is not drawn, but puts the line into the legend.
        at = np.nan if parted is None else parted
        axes.axvline(at, color=MARK, linestyle=":", label="smallest loss on val")
        axes.set_yscale("log")
        axes.set_title(f"{name}: {f'epoch {parted}' if parted else 'last epoch'}", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        clean(axes)
    label_left(cells, "loss")
    legend_above(figure, cells[0])
    return figure


@dataclass(frozen=True)
class Scatter:
    """Accuracies on one split.

    Attributes:
        name: Name of the split.
        size: Number of samples.
        values: Accuracies (seeds,).
        scatter: Standard deviation over seeds.
        chance: Standard deviation expected from the number of samples.
    """

    name: str
    size: int
    values: Array
    scatter: float
    chance: float


def splits(pairs: Sequence[tuple[str, Sequence[Scatter]]]) -> Figure:
    """Pairs of accuracies, one panel per way to split.

    Args:
        pairs: Title, and accuracies on val and on test, of each panel.
    """
    figure, cells = panels(len(pairs), len(pairs), (3.1, 3.4), 0.0, sharey=True)
    for colour, axes, (title, pair) in zip(cycle(COLOURS), cells, pairs, strict=False):
        lines = np.stack([each.values for each in pair])
        axes.plot([0, 1], lines, "o-", color=colour, alpha=0.7, markersize=5)
        labels = [
            f"{each.name}: {each.size} samples\ns {each.scatter:.4f} ({each.chance:.4f})"
            for each in pair
        ]
        axes.set_xticks([0, 1], labels, fontsize=8)
        axes.set_xlim(-0.5, 1.5)
        axes.set_title(title, fontsize=10)
        clean(axes)
    label_left(cells, "accuracy")
    return figure
