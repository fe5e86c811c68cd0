"""Figure of the distribution of weights."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import COLOURS, clean, label_left, panels


def weight_histograms(weights: Mapping[str, Array]) -> Figure:
    """One histogram per network, all on the same axes.

    Args:
        weights: Weights (N,), by title.
    """
    figure, cells = panels(len(weights), 4, (2.7, 2.2), 0.3, sharex=True, sharey=True)
    reach = max(float(np.quantile(np.abs(each), 0.999)) for each in weights.values())
    bins = np.linspace(-reach, reach, 81).tolist()
    for colour, axes, (title, each) in zip(cycle(COLOURS), cells, weights.items(), strict=False):
        axes.hist(each, bins=bins, color=colour, log=True)
        axes.set_title(title, fontsize=9)
        clean(axes)
    label_left(cells, "weights per bin")
    figure.supxlabel("weight", fontsize=10)
    return figure
