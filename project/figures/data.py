"""Figures of a data set before training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import COLOURS, TRAIN, VAL, as_label, image_rows, panel

MAX_CLASSES = 40  # bars that can be read in one figure


def contact_sheet(images: Mapping[str, Array], title: str = "") -> Figure:
    """Some images (N, H, W, C) uint8 of each class, one row per class."""
    return image_rows([as_label(name) for name in images], list(images.values()), title=title)


def class_counts(counts: Mapping[str, Sequence[int]], splits: Sequence[str]) -> Figure:
    """Number of samples of each class in each split; many classes are cut to the largest."""
    shown = sorted(counts, key=lambda name: -sum(counts[name]))[:MAX_CLASSES]
    values = np.array([counts[name] for name in shown])
    figure, axes = panel(7.0, 1.2 + 0.26 * len(shown), xlabel="samples")
    left = values.cumsum(axis=1) - values
    for column, (split, colour) in enumerate(zip(splits, COLOURS, strict=False)):
        axes.barh(
            range(len(shown)), values[:, column], left=left[:, column], color=colour, label=split
        )
    axes.set_yticks(range(len(shown)), [as_label(name) for name in shown], fontsize=8)
    axes.invert_yaxis()
    if len(counts) > len(shown):
        axes.set_title(f"the {len(shown)} largest of {len(counts)} classes", fontsize=10)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def targets(train: Array, val: Array) -> Figure:
    """Histograms of the regression targets (N,) and (M,) of two splits."""
    figure, axes = panel(6.0, 3.4, xlabel="target", ylabel="share of samples")
    bins = min(20, max(8, len(train) // 20))
    edges = np.histogram_bin_edges(train.astype(np.float64), bins)
    for values, name, colour in ((train, "train", TRAIN), (val, "val", VAL)):
        inside = values.astype(np.float64).clip(edges[0], edges[-1])
        shares = [1 / len(inside)] * len(inside)
        axes.hist(inside, edges.tolist(), weights=shares, histtype="step", label=name, color=colour)
    axes.legend(frameon=False)
    return figure
