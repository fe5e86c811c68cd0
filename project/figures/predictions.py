"""Figures of predictions: those of a classifier, a regressor and an autoencoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator
from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay

from project.core.arrays import Array, Indexed
from project.figures.style import (
    MARK,
    VAL,
    as_label,
    grid,
    image_rows,
    new_figure,
    panel,
    panels,
    show_image,
)

MAX_ANNOTATED = 25  # number of classes up to which the cells show counts
POINTS = {"s": 16, "alpha": 0.6, "color": VAL, "edgecolors": "none"}
LINE: dict[str, Any] = {"color": MARK, "linewidth": 1, "linestyle": "--"}


def confusion_matrix(counts: Array, classes: Sequence[str], split: str) -> Figure:
    """How often each true class (rows) was predicted as each class (columns), of one split."""
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
    if is_annotated:
        for text, count in zip(display.text_.ravel(), counts.ravel(), strict=True):
            if count:
                text.set_text(f"{count}")
            else:
                text.remove()
        if max(map(len, names)) > 3:
            for label in axes.get_xticklabels():
                label.set(rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set(xticks=[], yticks=[])
    num_right, total = int(np.trace(counts)), int(counts.sum())
    share = num_right / max(1, total)
    axes.set_title(f"{split}: {num_right} of {total} right ({share:.2%})", fontsize=10)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def worst_mistakes(
    images: Indexed, targets: Array, probabilities: Array, classes: Sequence[str], most: int = 24
) -> Figure:
    """Images (N, H, W, C) whose wrong predictions (N, classes) have the highest confidence."""
    predicted, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(-confidences[wrong], kind="stable")][:most]
    if not len(worst):
        figure = new_figure(4.5, 1.5)
        figure.suptitle(f"no mistakes on {len(targets)} samples of val", y=0.6)
        return figure
    title = f"{len(worst)} worst of {len(wrong)} mistakes on {len(targets)} samples of val"
    figure, cells = grid(len(worst), 6, cell=1.6, title=title)
    for axes, index in zip(cells, worst, strict=True):
        name = as_label(classes[predicted[index]], 14)
        show_image(axes, images[index], f"{name} {confidences[index]:.0%}", VAL)
        axes.set_xlabel(f"true: {as_label(classes[int(targets[index])], 14)}", fontsize=8)
    return figure


def predicted_against_true(targets: Array, predictions: Array) -> Figure:
    """One point per sample (N,), in the unit of the targets; perfect ones lie on the diagonal."""
    figure, axes = panel(5, 4.6)
    PredictionErrorDisplay(y_true=targets, y_pred=predictions).plot(
        axes,
        kind="actual_vs_predicted",
        scatter_kwargs=POINTS,
        line_kwargs={**LINE, "label": "perfect"},
    )
    axes.legend(frameon=False)
    axes.xaxis.set_major_locator(AutoLocator())
    axes.yaxis.set_major_locator(AutoLocator())
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"val: {len(targets)} samples", fontsize=10)
    return figure


def residuals(targets: Array, predictions: Array) -> Figure:
    """Residuals (true - predicted) over the predictions (N,), and their distribution."""
    errors = targets - predictions
    figure, (axes, beside) = panels(2, 2, (3.75, 3.8), 0.0, sharey=True, width_ratios=(3, 1))
    PredictionErrorDisplay(y_true=targets, y_pred=predictions).plot(
        axes, kind="residual_vs_predicted", scatter_kwargs=POINTS, line_kwargs=LINE
    )
    axes.set(xlabel="predicted", ylabel="true - predicted")
    beside.hist(errors, bins=20, orientation="horizontal", color=VAL, alpha=0.7)
    beside.axhline(0, **LINE)
    beside.set_xlabel("samples")
    title = f"val: mean {errors.mean():.3g}, standard deviation {errors.std():.3g}"
    axes.set_title(title, fontsize=10)
    return figure


def reconstructions(images: Array, reconstructed: Array) -> Figure:
    """Images (N, H, W, C) uint8 above their reconstructions in [0, 1], with the error of each."""
    errors = ((images / 255 - reconstructed) ** 2).mean(axis=(1, 2, 3))
    titles = {1: [f"MSE {error:.4f}" for error in errors]}
    return image_rows(["original", "reconstructed"], [images, reconstructed], titles)
