"""Figures of a comparison: measured values of each variant, and learning curves over seeds."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Curve
from project.core.statistics import estimate
from project.figures.style import (
    COLOURS,
    as_label,
    bands,
    label_epochs,
    legend_above,
    panels,
    set_log_scale,
)


def measures(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Values over seeds, by metric and variant: a dot per seed, the mean and its 95 % interval."""
    variants = [as_label(name, 40) for name in next(iter(values.values()))]
    columns = min(3, len(values))
    # The names of the variants are beside the first panel of a row only.
    beside = 0.08 * max(len(variant) for variant in variants) / columns
    size = (2.7 + beside, 0.9 + 0.34 * len(variants))
    figure, cells = panels(len(values), columns, size, 0.0, sharey=True)
    for axes, (metric, by_variant) in zip(cells, values.items(), strict=True):
        for place, (colour, each) in enumerate(zip(cycle(COLOURS), by_variant.values())):
            if scores := [value for value in each if np.isfinite(value)]:
                mean = estimate(scores)
                y = [place] * len(scores)
                axes.plot(scores, y, "o", color=colour, alpha=0.45, markersize=5)
                axes.plot(mean.mean, place, "|", color=colour, markersize=16, markeredgewidth=2.5)
                axes.plot([mean.low, mean.high], [place, place], color=colour, linewidth=2)
        axes.set_xlabel(metric)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        if not set_log_scale(axes, "x", [*by_variant.values()], 1000):
            axes.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def curves(by_metric: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Figure:
    """Epochs and values of each seed, by metric and variant: mean and range over seeds."""
    figure, cells = panels(len(by_metric), 3, (3.7, 2.9), 0.5)
    figure.set_figwidth(max(6.0, figure.get_figwidth()))  # for the legend
    for axes, (metric, by_variant) in zip(cells, by_metric.items(), strict=True):
        bands(axes, by_variant)
        axes.set_ylabel(metric)
        every = [y for seeds in by_variant.values() for _, y in seeds]
        label_epochs(axes, max(map(len, every)))
        set_log_scale(axes, "y", every, 100)
    legend_above(figure, cells[0], most=4)
    return figure
