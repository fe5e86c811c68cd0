"""Figures of weights."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import COLOURS, clean, new_figure


def weight_histograms(weights: Mapping[str, Array], near_zero: float) -> Figure:
    """A panel for each network, all on the same axes.

    Args:
        weights: (N,) by name.
        near_zero: weights below it are counted.
    """
    columns = min(4, len(weights))
    rows = -(-len(weights) // columns)
    figure = new_figure(2.7 * columns, 2.2 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    reach = max(float(np.quantile(np.abs(found), 0.999)) for found in weights.values())
    bins = np.linspace(-reach, reach, 81).tolist()
    for place, (axes, (name, found)) in enumerate(zip(panels, weights.items(), strict=False)):
        axes.hist(found, bins=bins, color=COLOURS[place % len(COLOURS)], log=True)
        axes.set_title(f"{name}: {(np.abs(found) < near_zero).mean():.1%} near 0", fontsize=9)
        clean(axes)
    for axes in panels[-columns:]:
        axes.set_xlabel("weight")
    for axes in panels[::columns]:
        axes.set_ylabel("weights in a bin")
    for axes in panels[len(weights) :]:
        axes.axis("off")
    return figure
