"""Figures of trajectories, learning rates and minima."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lessons.descent import TINY, one_panel
from project.core.arrays import Array, Curve
from project.figures.style import COLOURS, MARK, clean, panels


def paths(
    grid: tuple[Array, Array], losses: Array, solution: Array, taken: Mapping[str, Array]
) -> Figure:
    """Trajectories on the loss surface, one panel per variant.

    Args:
        grid: Weights (W,) and biases (B,) of the surface.
        losses: Loss (B, W) on the grid.
        solution: Weight and bias (2,) of the smallest loss.
        taken: Weight and bias (steps, 2) after each step, by variant.
    """
    figure, cells = panels(len(taken), 3, (3.3, 3.1), 0.0, sharex=True, sharey=True)
    levels = np.geomspace(max(losses.min(), 1e-3), losses.max(), 16)
    weights, biases = grid
    for colour, axes, (variant, path) in zip(COLOURS, cells, taken.items(), strict=False):
        lines = axes.contour(weights, biases, losses, levels, colors="0.78", linewidths=0.7)
        axes.clabel(lines, levels[3::4], fontsize=7, fmt="%.2g", colors=MARK)
        axes.plot(path[:, 0], path[:, 1], ".-", color=colour, markersize=4, linewidth=1)
        axes.plot(path[0, 0], path[0, 1], "o", color=colour, markerfacecolor="white")
        axes.plot(*solution, "*", color="black", markersize=11)
        axes.set_title(f"{variant}, {len(path) - 1} steps", fontsize=10)
        axes.set_xlim(weights.min(), weights.max())
        axes.set_ylim(biases.min(), biases.max())
        clean(axes)
    figure.supxlabel("weight", fontsize=10)
    figure.supylabel("bias", fontsize=10)
    return figure


def learning_rates(growth: Mapping[str, tuple[float, float]], limit: float) -> Figure:
    """Change of the loss over a run by learning rate, with the limit of stability.

    Args:
        growth: Learning rate, and last over first excess loss, by variant.
        limit: Learning rate above which gradient descent diverges.
    """
    figure, axes = one_panel("learning rate", "excess loss, last / first")
    for colour, (variant, (lr, ratio)) in zip(COLOURS, growth.items(), strict=False):
        axes.plot(lr, max(ratio, TINY), "o", color=colour, markersize=9, label=variant)
    axes.axvline(limit, color=MARK, linestyle="--", label=f"2 / largest eigenvalue = {limit:.3f}")
    axes.axhline(1, color=MARK, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9)
    return figure


def two_minima(x: Array, y: Array, walks: Sequence[Curve]) -> Figure:
    """A function with two minima, and descents on it from several starts.

    Args:
        x: Positions (N,).
        y: Values (N,) of the function.
        walks: Positions and values after each step, one pair per descent.
    """
    figure, axes = one_panel("x", "f(x)")
    axes.plot(x, y, color=MARK)
    for colour, (at, value) in zip(COLOURS, walks, strict=False):
        axes.plot(at, value, ".-", color=colour, linewidth=1)
        axes.plot(at[0], value[0], "o", color=colour, markerfacecolor="white", markersize=9)
        axes.plot(at[-1], value[-1], "*", color=colour, markersize=12)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    return figure
