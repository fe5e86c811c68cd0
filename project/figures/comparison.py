"""Figures of a comparison: what was measured of each variant, over seeds and over epochs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Array
from project.core.statistics import estimate
from project.figures.style import COLOURS, as_label, clean, legend_above, new_figure

Curve = tuple[Array, Array]  # x and y


def measures(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """A dot for each seed, the mean and its 95 % interval: a panel for each metric.

    Args:
        values: by metric and variant, one a seed.
    """
    columns = min(3, len(values))
    rows = -(-len(values) // columns)
    variants = [as_label(name, 40) for name in next(iter(values.values()))]
    # Names of variants stand beside the first panel of a row only.
    beside = 0.08 * max(len(variant) for variant in variants)
    figure = new_figure(2.7 * columns + beside, rows * (0.9 + 0.34 * len(variants)))
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (metric, by_variant) in zip(panels.ravel(), values.items(), strict=False):
        for place, found in enumerate(by_variant.values()):
            finite = [value for value in found if np.isfinite(value)]
            if not finite:
                continue
            colour = COLOURS[place % len(COLOURS)]
            sure = estimate(finite)
            axes.plot(finite, [place] * len(finite), "o", color=colour, alpha=0.45, markersize=5)
            axes.plot(sure.mean, place, "|", color=colour, markersize=16, markeredgewidth=2.5)
            if len(finite) > 1:
                axes.plot([sure.low, sure.high], [place, place], color=colour, linewidth=2)
        axes.set_xlabel(metric)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        every = np.concatenate([np.ravel(found) for found in by_variant.values()])
        every = every[np.isfinite(every)]
        if len(every) and every.min() > 0 and every.max() > 1000 * every.min():
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        clean(axes)
    for axes in panels.ravel()[len(values) :]:
        axes.axis("off")
    return figure


def curves(panels: Mapping[str, Mapping[str, Sequence[Curve]]], x_label: str = "epoch") -> Figure:
    """Mean over seeds, and the range of the seeds as a band: a panel for each metric.

    Args:
        panels: by metric and variant, a curve a seed.
        x_label: of all panels.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(max(6.0, 3.7 * columns), 2.9 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (metric, by_variant) in zip(grid, panels.items(), strict=False):
        for place, (variant, found) in enumerate(by_variant.items()):
            if not found:
                continue
            # To where the first run stopped: a mean of those that are left would be of others.
            x = min((x for x, _ in found), key=len)
            values = np.stack([y[: len(x)] for _, y in found])
            colour = COLOURS[place % len(COLOURS)]
            marker = "o" if len(x) == 1 else None
            name = as_label(variant, 40)
            axes.plot(x, values.mean(0), marker=marker, color=colour, label=name, linewidth=1.6)
            if len(found) > 1:
                low, high = values.min(0), values.max(0)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(metric)
        every = [y for found in by_variant.values() for _, y in found]
        if max(map(len, every)) == 1:
            axes.set_xlim(0.5, 1.5)
        joined = np.concatenate(every)
        if joined.min() > 0 and joined.max() > 100 * joined.min():
            axes.set_yscale("log")
        clean(axes)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    legend_above(figure, grid[0], most=4)
    return figure
