"""Figures of robustness and calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay

from project.core.arrays import Array
from project.figures.style import (
    COLOURS,
    TRAIN,
    as_label,
    band,
    clean,
    grid,
    label_left,
    legend_above,
    new_figure,
    panels,
    show_image,
)


def robustness_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]],
    units: Mapping[str, str],
) -> Figure:
    """Draws accuracy over the amount, one panel per corruption; mean and range over seeds.

    Args:
        curves: Amounts and accuracies of each seed, by corruption and model.
        units: Units of the amounts, by corruption.
    """
    columns = -(-len(curves) // -(-len(curves) // 4))  # at most 4, evenly filled rows
    figure, cells = panels(len(curves), columns, (2.9, 2.5), sharey=True)
    for axes, (name, by_model) in zip(cells, curves.items(), strict=True):
        for place, (model, seeds) in enumerate(by_model.items()):
            accuracies = [values for _, values in seeds]
            colour = COLOURS[place % len(COLOURS)]
            band(axes, seeds[0][0], accuracies, colour, as_label(model, 40), ".")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(units[name], fontsize=9)
        axes.set_ylim(0, 1.02)
        clean(axes)
    label_left(cells, "val/accuracy")
    if any(len(by_model) > 1 for by_model in curves.values()):
        legend_above(figure, cells[0])
    return figure


def corruption_sheet(examples: Mapping[str, Mapping[float, Array]]) -> Figure:
    """Shows one image under increasing corruption, one row per corruption.

    Args:
        examples: Images (H, W, C) uint8, by corruption and amount.
    """
    columns = max(len(images) for images in examples.values())
    figure, cells = grid(len(examples) * columns, columns, cell=1.1)
    for row, (name, images) in enumerate(examples.items()):
        for axes, (amount, image) in zip(cells[row * columns :], images.items(), strict=False):
            show_image(axes, image, f"{amount:g}")
        cells[row * columns].set_ylabel(name, fontsize=9)
    return figure


def reliability(confidences: Array, is_right: Array, error: float, num_bins: int = 15) -> Figure:
    """Draws accuracy over confidence, and the distribution of the confidence (arXiv:1706.04599).

    Args:
        confidences: Probabilities (N,) of the predicted class.
        is_right: Whether each prediction is correct, (N,).
        error: Expected calibration error over the same bins.
        num_bins: Number of bins of equal width.
    """
    figure = new_figure(4.6, 4.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    label = f"model, expected error {error:.3f}"
    CalibrationDisplay.from_predictions(
        is_right, confidences, n_bins=num_bins, name=label, ax=axes, color=TRAIN
    )
    axes.set(xlabel="", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    below.hist(confidences, bins=np.linspace(0, 1, num_bins + 1).tolist(), color=TRAIN)
    below.set(xlabel="confidence", ylabel="samples")
    clean(axes)
    clean(below)
    return figure
