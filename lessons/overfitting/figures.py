"""Figures of overfitting and of splits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Array
from project.figures.style import COLOURS, MARK, TRAIN, VAL, clean, legend_above, new_figure


def parting(curves: Mapping[str, tuple[Array, Array, int | None]]) -> Figure:
    """Losses on train and val over the epochs, with the epoch from which on they part.

    Args:
        curves: (epochs,) of train and of val, and that epoch or None, by variant.
    """
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.4 * columns, 2.5 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, (train, val, parted)) in zip(panels, curves.items(), strict=False):
        epochs = np.arange(1, len(val) + 1)
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, train, marker=marker, color=TRAIN, label="train")
        axes.plot(epochs, val, marker=marker, color=VAL, label="val")
        if parted is not None:
            axes.axvline(parted, color=MARK, linestyle=":", label="least on val")
        else:
            axes.plot([], [], color=MARK, linestyle=":", label="least on val")  # for the legend
        axes.set_yscale("log")
        axes.set_title(f"{name}: {f'epoch {parted}' if parted else 'not parted'}", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        clean(axes)
    for axes in panels[::columns]:
        axes.set_ylabel("loss")
    for axes in panels[len(curves) :]:
        axes.axis("off")
    legend_above(figure, panels[0])
    return figure


@dataclass(frozen=True)
class Pairs:
    """Accuracies of networks on val and on test.

    Attributes:
        accuracies: (seeds, 2).
        sizes: samples in train, val and test.
    """

    accuracies: Array
    sizes: tuple[int, int, int]


def splits(by_split: Mapping[str, Pairs]) -> Figure:
    """Pairs of accuracies on val and test, a panel for each way to split, with their scatter."""
    figure = new_figure(3.1 * len(by_split), 3.4)
    panels = figure.subplots(1, len(by_split), squeeze=False, sharey=True).ravel()
    for place, (axes, found) in enumerate(zip(panels, by_split.values(), strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        for pair in found.accuracies:
            axes.plot([0, 1], pair, "o-", color=colour, alpha=0.7, markersize=5)
        labels = []
        for name, size, values in zip(
            ("val", "test"), found.sizes[1:], found.accuracies.T, strict=True
        ):
            scatter = values.std(ddof=1) if len(values) > 1 else np.nan
            # The standard deviation of a binomial proportion.
            chance = np.sqrt(values.mean() * (1 - values.mean()) / size)
            labels.append(f"{name}: {size} samples\ns {scatter:.4f} ({chance:.4f})")
        axes.set_xticks([0, 1], labels, fontsize=8)
        axes.set_xlim(-0.5, 1.5)
        shares = "/".join(f"{100 * size / sum(found.sizes):.0f}" for size in found.sizes)
        axes.set_title(f"train/val/test {shares} %", fontsize=10)
        clean(axes)
    panels[0].set_ylabel("accuracy")
    return figure
