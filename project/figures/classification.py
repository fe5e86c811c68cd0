"""Figures of a classifier: its confusion matrix and its worst mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from project.core.arrays import Array, Indexed
from project.figures.style import VAL, as_label, grid, new_figure, show_image

MAX_ANNOTATED = 25  # number of classes up to which the cells show counts


def confusion_matrix(counts: Array, classes: Sequence[str], split: str) -> Figure:
    """Draws how often each true class (rows) was predicted as each class (columns).

    Args:
        counts: Number of samples, (classes, classes).
        classes: Class names.
        split: Name of the predicted split.
    """
    names = [as_label(name) for name in classes]
    side = min(12.0, max(4.5, 0.55 * len(names) + 1.5))
    space = 0.05 * max(map(len, names))  # inches for the names
    figure = new_figure(side + 0.6 + space, side + space)
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    is_annotated = len(names) <= MAX_ANNOTATED
    display = ConfusionMatrixDisplay(shares, display_labels=names).plot(
        ax=axes,
        include_values=is_annotated,
        cmap="Blues",
        colorbar=False,
        im_kw={"vmin": 0, "vmax": 1},
        text_kw={"fontsize": 8 if len(names) <= 12 else 6} if is_annotated else None,
    )
    figure.colorbar(display.im_, ax=axes, shrink=0.8, label="share of the true class")
    if not is_annotated:
        axes.set(xticks=[], yticks=[])
    else:
        for text, count in zip(display.text_.ravel(), counts.ravel(), strict=True):
            if count:
                text.set_text(f"{count}")
            else:
                text.remove()
        if max(map(len, names)) > 3:
            for label in axes.get_xticklabels():
                label.set(rotation=45, ha="right", rotation_mode="anchor")
    num_right, total = int(np.trace(counts)), int(counts.sum())
    share = num_right / max(1, total)
    axes.set_title(f"{split}: {num_right} of {total} right ({share:.2%})", fontsize=10)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def worst_mistakes(
    images: Indexed,
    targets: Array,
    probabilities: Array,
    classes: Sequence[str],
    max_images: int = 24,
) -> Figure:
    """Shows the wrong predictions with the highest confidence.

    Args:
        images: Images (N, H, W, C) uint8.
        targets: True class indices (N,).
        probabilities: Predicted probabilities (N, classes).
        classes: Class names.
        max_images: Maximum number of images shown.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:max_images]
    if not len(worst):
        figure = new_figure(4.5, 1.5)
        figure.suptitle(f"no mistakes on {len(targets)} samples of val", y=0.6)
        return figure
    title = f"{len(worst)} worst of {len(wrong)} mistakes on {len(targets)} samples of val"
    figure, cells = grid(len(worst), 6, cell=1.6, title=title)
    for axes, index in zip(cells, worst, strict=True):
        name = as_label(classes[predicted[index]], 14)
        show_image(axes, images[index], f"{name} {probabilities[index, predicted[index]]:.0%}", VAL)
        axes.set_xlabel(f"true: {as_label(classes[int(targets[index])], 14)}", fontsize=8)
    return figure
