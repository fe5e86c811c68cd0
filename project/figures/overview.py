"""Figures of a data set before it is trained on."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import COLOURS, as_label, clean, grid, new_figure, show_image

MAX_CLASSES = 40  # bars that can be read


def contact_sheet(images: Mapping[str, Array], columns: int = 8, title: str = "") -> Figure:
    """Shows some images of each class, a row each.

    Args:
        images: (N, H, W, C) uint8 by class.
        columns: images of each that are shown.
        title: of the figure.
    """
    figure, cells = grid(len(images) * columns, columns, title=title)
    for row, (name, of_class) in enumerate(images.items()):
        for column in range(columns):
            axes = cells[row * columns + column]
            if column < len(of_class):
                show_image(axes, of_class[column])
            else:
                axes.axis("off")
        first = cells[row * columns]
        first.set_ylabel(as_label(name), fontsize=8, rotation=0, ha="right", va="center")
    return figure


def class_counts(classes: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Figure:
    """Bars of how many samples each class has in each split.

    Args:
        classes: names.
        counts: of each class, by split.
    """
    order = np.argsort([-sum(each) for each in zip(*counts.values(), strict=True)], kind="stable")
    shown = order[:MAX_CLASSES]
    figure = new_figure(7.0, 1.2 + 0.26 * len(shown))
    axes = figure.subplots()
    left = np.zeros(len(shown))
    for (split, values), colour in zip(counts.items(), COLOURS, strict=False):
        widths = np.asarray(values)[shown]
        axes.barh(range(len(shown)), widths, left=left, color=colour, label=split)
        left += widths
    axes.set_yticks(range(len(shown)), [as_label(classes[i]) for i in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("samples")
    if len(order) > len(shown):
        axes.set_title(f"the {len(shown)} largest of {len(order)} classes", fontsize=10)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    clean(axes)
    return figure


def targets(train: Array, val: Array) -> Figure:
    """Histograms of the values that are regressed, on train and val.

    Args:
        train: (N,).
        val: (M,).
    """
    figure = new_figure(6.0, 3.4)
    axes = figure.subplots()
    train, val = train.astype(np.float64), val.astype(np.float64)
    edges = np.histogram_bin_edges(train, bins=min(20, max(8, len(train) // 20)))
    for values, name, colour in ((train, "train", COLOURS[0]), (val, "val", COLOURS[1])):
        inside = np.clip(values, edges[0], edges[-1])
        shares = [1 / len(inside)] * len(inside)
        axes.hist(inside, edges.tolist(), weights=shares, histtype="step", label=name, color=colour)
    axes.set_xlabel("target")
    axes.set_ylabel("share of samples")
    axes.legend(frameon=False)
    clean(axes)
    return figure
