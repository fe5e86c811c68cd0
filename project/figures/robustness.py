"""Figures of robustness and calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

from project.core.arrays import Array
from project.figures.style import (
    COLOURS,
    MARK,
    TRAIN,
    as_label,
    clean,
    grid,
    legend_above,
    new_figure,
    show_image,
)

Curve = tuple[Sequence[float], Sequence[float]]  # amounts and accuracies


def robustness_curves(
    curves: Mapping[str, Mapping[str, Sequence[Curve]]], units: Mapping[str, str]
) -> Figure:
    """Accuracy over the amount, a panel for each corruption; with several seeds mean and range.

    Args:
        curves: by corruption and model, one a seed.
        units: of the amounts, by corruption.
    """
    rows = -(-len(curves) // 4)
    columns = -(-len(curves) // rows)
    figure = new_figure(2.9 * columns, 2.5 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (name, by_model) in zip(panels, curves.items(), strict=False):
        for place, (model, found) in enumerate(by_model.items()):
            colour = COLOURS[place % len(COLOURS)]
            amounts = found[0][0]
            accuracies = np.array([each[1] for each in found])
            axes.plot(amounts, accuracies.mean(0), ".-", color=colour, label=as_label(model, 40))
            if len(found) > 1:
                axes.fill_between(
                    amounts,
                    accuracies.min(0),
                    accuracies.max(0),
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(units[name], fontsize=9)
        axes.set_ylim(0, 1.02)
        clean(axes)
    for axes in panels[::columns][:rows]:
        axes.set_ylabel("val/accuracy")
    for axes in panels[len(curves) :]:
        axes.axis("off")
    if any(len(by_model) > 1 for by_model in curves.values()):
        legend_above(figure, panels[0])
    return figure


def corruption_sheet(
    rows: Mapping[str, Sequence[Array]], amounts: Mapping[str, Sequence[float]]
) -> Figure:
    """One image under growing corruption, a row for each kind.

    Args:
        rows: by corruption, (H, W, C) uint8 for each amount.
        amounts: by corruption.
    """
    columns = max(len(images) for images in rows.values())
    figure, cells = grid(len(rows) * columns, columns, cell=1.1)
    for row, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            axes = cells[row * columns + column]
            show_image(axes, image, f"{amounts[name][column]:g}")
            if column == 0:
                axes.set_ylabel(name, fontsize=9)
    return figure


def reliability(confidences: Array, is_right: Array, error: float, num_bins: int = 15) -> Figure:
    """How often the model is right when it is so sure (arXiv:1706.04599).

    Args:
        confidences: (N,) probabilities of the predicted class.
        is_right: (N,) whether it was the true one.
        error: expected calibration error, over as many bins.
        num_bins: of equal width.
    """
    figure = new_figure(4.6, 4.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    accuracy, confidence = calibration_curve(is_right, confidences, n_bins=num_bins)
    axes.plot([0, 1], [0, 1], ":", color=MARK, label="perfectly calibrated")
    axes.plot(confidence, accuracy, "o-", color=TRAIN, label=f"model, expected error {error:.3f}")
    axes.set_ylabel("accuracy")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="lower right")
    below.hist(confidences, bins=np.linspace(0, 1, num_bins + 1).tolist(), color=TRAIN)
    below.set_xlabel("confidence")
    below.set_ylabel("samples")
    clean(axes)
    clean(below)
    return figure
