"""Figures that several lessons on gradient descent share."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from project.core.arrays import Curve
from project.figures.style import COLOURS, clean, new_figure

TINY = 1e-16  # drawn instead of smaller values on a logarithmic axis


def one_panel(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty figure of one panel."""
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    clean(axes)
    return figure, axes


def loss_curves(
    losses: Mapping[str, Curve], y_label: str, floors: Mapping[str, float] | None = None
) -> Figure:
    """Losses over the steps on a logarithmic axis.

    Args:
        losses: Steps and losses, by variant.
        y_label: Label of the y axis.
        floors: Smallest possible losses, by variant; None draws none.
    """
    figure, axes = one_panel("step", y_label)
    for colour, (variant, (steps, values)) in zip(COLOURS, losses.items(), strict=False):
        axes.plot(steps, np.maximum(values, TINY), color=colour, label=variant)
        if floors is not None:
            axes.axhline(floors[variant], color=colour, linestyle=":", linewidth=1)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9)
    return figure
