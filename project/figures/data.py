"""Figures of a data set before training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import COLOURS, as_label, clean, grid, new_figure, show_image

MAX_CLASSES = 40  # bars that can be read in one figure


def contact_sheet(images: Mapping[str, Array], columns: int = 8, title: str = "") -> Figure:
    """Shows some images of each class, one row per class.

    Args:
        images: Images (N, H, W, C) uint8, by class.
        columns: Number of images shown per class.
        title: Title of the figure.
    """
    figure, cells = grid(len(images) * columns, columns, title=title)
    for row, (name, of_class) in enumerate(images.items()):
        in_row = cells[row * columns : (row + 1) * columns]
        for axes, image in zip(in_row, of_class, strict=False):
            show_image(axes, image)
        for axes in in_row[len(of_class) :]:
            axes.axis("off")
        label = as_label(name)
        in_row[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    return figure


def class_counts(counts: Mapping[str, Sequence[int]], splits: Sequence[str]) -> Figure:
    """Draws how many samples each class has in each split.

    Args:
        counts: Number of samples in each split, by class.
        splits: Names of the splits.
    """
    order = sorted(counts, key=lambda name: -sum(counts[name]))
    shown = order[:MAX_CLASSES]
    values = np.array([counts[name] for name in shown])
    figure = new_figure(7.0, 1.2 + 0.26 * len(shown))
    axes = figure.subplots()
    left = values.cumsum(axis=1) - values
    for column, split in enumerate(splits):
        widths, colour = values[:, column], COLOURS[column]
        axes.barh(range(len(shown)), widths, left=left[:, column], color=colour, label=split)
    axes.set_yticks(range(len(shown)), [as_label(name) for name in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("samples")
    if len(order) > len(shown):
        axes.set_title(f"the {len(shown)} largest of {len(order)} classes", fontsize=10)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    clean(axes)
    return figure


def targets(train: Array, val: Array) -> Figure:
    """Draws histograms of the regression targets.

    Args:
        train: Targets (N,) of the training split.
        val: Targets (M,) of the validation split.
    """
    figure = new_figure(6.0, 3.4)
    axes = figure.subplots()
    train, val = train.astype(np.float64), val.astype(np.float64)
    edges = np.histogram_bin_edges(train, bins=min(20, max(8, len(train) // 20)))
    for values, name, colour in ((train, "train", COLOURS[0]), (val, "val", COLOURS[1])):
        inside = np.clip(values, edges[0], edges[-1])
        shares = [1 / len(inside)] * len(inside)
        axes.hist(inside, edges.tolist(), weights=shares, histtype="step", label=name, color=colour)
    axes.set(xlabel="target", ylabel="share of samples")
    axes.legend(frameon=False)
    clean(axes)
    return figure
