"""Figures of a comparison: measured values of each variant, and learning curves over seeds."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Array, Curve
from project.core.statistics import estimate
from project.figures.style import COLOURS, as_label, band, clean, legend_above, panels

MAX_LABEL = 40  # letters of a variant's name


def measures(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel per metric: a dot per seed, the mean and its 95 % interval.

    Args:
        values: Values over seeds, by metric and variant.
    """
    variants = [as_label(name, MAX_LABEL) for name in next(iter(values.values()))]
    columns = min(3, len(values))
    # The names of the variants are beside the first panel of a row only.
    beside = 0.08 * max(len(variant) for variant in variants) / columns
    size = (2.7 + beside, 0.9 + 0.34 * len(variants))
    figure, cells = panels(len(values), columns, size, 0.0, sharey=True)
    for axes, (metric, by_variant) in zip(cells, values.items(), strict=True):
        for place, (colour, scores) in enumerate(zip(cycle(COLOURS), by_variant.values())):
            _measure(axes, place, [value for value in scores if np.isfinite(value)], colour)
        axes.set_xlabel(metric)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        if not _set_log_scale(axes, "x", [*by_variant.values()], 1000):
            axes.xaxis.set_major_locator(MaxNLocator(4))
        clean(axes)
    return figure


def _measure(axes: Axes, place: int, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    mean = estimate(values)
    axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.45, markersize=5)
    axes.plot(mean.mean, place, "|", color=colour, markersize=16, markeredgewidth=2.5)
    axes.plot([mean.low, mean.high], [place, place], color=colour, linewidth=2)


def curves(by_metric: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Figure:
    """One panel per metric: mean over seeds, and the range of the seeds as a band.

    Args:
        by_metric: One curve per seed, by metric and variant.
    """
    figure, cells = panels(len(by_metric), 3, (3.7, 2.9), 0.5)
    figure.set_figwidth(max(6.0, figure.get_figwidth()))  # for the legend
    for axes, (metric, by_variant) in zip(cells, by_metric.items(), strict=True):
        for colour, (variant, seeds) in zip(cycle(COLOURS), by_variant.items()):
            if seeds:
                # Up to where the first run stopped: beyond it the mean would be of fewer seeds.
                x = min((x for x, _ in seeds), key=len)
                y = [y[: len(x)] for _, y in seeds]
                band(axes, x, y, colour, as_label(variant, MAX_LABEL), "o" if len(x) == 1 else "")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(metric)
        every = [y for seeds in by_variant.values() for _, y in seeds]
        if max(map(len, every)) == 1:
            axes.set_xlim(0.5, 1.5)
        _set_log_scale(axes, "y", every, 100)
        clean(axes)
    legend_above(figure, cells[0], most=4)
    return figure


def _set_log_scale(
    axes: Axes, axis: str, parts: Sequence[Array | Sequence[float]], spread: float
) -> bool:
    """Makes an axis logarithmic if its values are positive and spread by more than a factor."""
    values = np.concatenate([np.ravel(part) for part in parts])
    values = values[np.isfinite(values)]
    is_log = bool(len(values) and values.min() > 0 and values.max() > spread * values.min())
    if is_log:
        axes.set(**{f"{axis}scale": "log"})
    return is_log
