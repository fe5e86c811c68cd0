"""Figures of robustness and calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay

from project.core.arrays import Array
from project.figures.style import TRAIN, Values, bands, image_rows, legend_above, panels


def accuracy_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[Values, Values]]]], x_labels: Mapping[str, str]
) -> Figure:
    """Amounts and accuracies on val of each seed, by panel and model: mean and range over seeds."""
    columns = -(-len(curves) // -(-len(curves) // 4))  # at most 4, evenly filled rows
    figure, cells = panels(len(curves), columns, (2.9, 2.5), sharey=True)
    for axes, (name, by_model) in zip(cells, curves.items(), strict=True):
        bands(axes, by_model, ".")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(x_labels[name], fontsize=9)
        axes.set_ylim(0, 1.02)
    figure.supylabel("val/accuracy", fontsize=10)
    if any(len(by_model) > 1 for by_model in curves.values()):
        legend_above(figure, cells[0])
    return figure


def corruption_sheet(examples: Mapping[str, Mapping[float, Array]]) -> Figure:
    """One image (H, W, C) uint8 by corruption and amount, one row per corruption."""
    titles = {row: [f"{each:g}" for each in images] for row, images in enumerate(examples.values())}
    rows = [list(images.values()) for images in examples.values()]
    return image_rows(list(examples), rows, titles, cell=1.1)


def reliability(confidences: Array, is_right: Array, error: float, num_bins: int = 15) -> Figure:
    """Accuracy over confidence, and the distribution of the confidence (arXiv:1706.04599).

    Args:
        confidences: Probabilities (N,) of the predicted class.
        is_right: Whether each prediction is correct, (N,).
        error: Expected calibration error over the same bins.
    """
    figure, (axes, below) = panels(2, 1, (4.6, 2.3), 0.0, sharex=True, height_ratios=(3, 1))
    CalibrationDisplay.from_predictions(
        is_right,
        confidences,
        n_bins=num_bins,
        name=f"model, expected error {error:.3f}",
        ax=axes,
        color=TRAIN,
    )
    axes.set(xlabel="", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    below.hist(confidences, bins=np.linspace(0, 1, num_bins + 1).tolist(), color=TRAIN)
    below.set(xlabel="confidence", ylabel="samples")
    return figure
