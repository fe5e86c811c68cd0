"""Figures of a classifier: which classes it mixes up, and its worst mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array, Indexed
from project.figures.style import VAL, as_label, grid, new_figure, show_image

MAX_ANNOTATED = 25  # classes up to which counts are written into the cells


def confusion_matrix(counts: Array, classes: Sequence[str], split: str) -> Figure:
    """Draws how often each true class (rows) was predicted as each (columns).

    Args:
        counts: (classes, classes) of samples.
        classes: their names.
        split: that was predicted.
    """
    num_classes = len(classes)
    side = min(12.0, max(4.5, 0.55 * num_classes + 1.5))
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    if num_classes <= MAX_ANNOTATED:
        for row in range(num_classes):
            for column in range(num_classes):
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(
                        column,
                        row,
                        f"{counts[row, column]}",
                        ha="center",
                        va="center",
                        fontsize=8 if num_classes <= 12 else 6,
                        color=colour,
                    )
        ticks = np.arange(num_classes)
        names = [as_label(name) for name in classes]
        longest = max(map(len, names))
        axes.set_xticks(
            ticks,
            names,
            rotation=45 if longest > 3 else 0,
            ha="right" if longest > 3 else "center",
        )
        axes.set_yticks(ticks, names)
    correct = int(np.trace(counts))
    total = int(counts.sum())
    axes.set_title(
        f"{split}: {correct} of {total} right ({correct / max(1, total):.2%})", fontsize=10
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def worst_mistakes(
    images: Indexed,
    targets: Array,
    probabilities: Array,
    classes: Sequence[str],
    max_images: int = 24,
) -> Figure:
    """Shows the wrong predictions that were made with the greatest confidence.

    Args:
        images: (N, H, W, C) uint8.
        targets: (N,) true class indices.
        probabilities: (N, classes).
        classes: their names.
        max_images: to show.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    confidence = probabilities[wrong, predicted[wrong]]
    worst = wrong[np.argsort(-confidence, kind="stable")][:max_images]
    if not len(worst):
        figure = new_figure(4.5, 1.5)
        figure.suptitle(f"no mistakes on {len(targets)} samples of val", y=0.6)
        return figure
    figure, cells = grid(
        len(worst),
        6,
        cell=1.6,
        title=f"{len(worst)} worst of {len(wrong)} mistakes on {len(targets)} samples of val",
    )
    for axes, index in zip(cells, worst, strict=True):
        name = as_label(classes[predicted[index]], 14)
        show_image(axes, images[index], f"{name} {probabilities[index, predicted[index]]:.0%}", VAL)
        axes.set_xlabel(f"true: {as_label(classes[int(targets[index])], 14)}", fontsize=8)
    return figure
