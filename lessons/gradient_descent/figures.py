"""Figures of descents on surfaces of two weights."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.polynomial import Polynomial

from lessons.descent import TINY, LeastSquares
from lessons.gradient_descent.surfaces import Surface
from project.core.arrays import Array, Curve
from project.figures.style import COLOURS, MARK, legend_above, panel, panels

TWO_MINIMA = Polynomial([0, 1 / 4, -1, 0, 1 / 4])  # a non-convex function


def _contours(axes: Axes, loss: Callable[[Array], Array], x: Array, y: Array) -> None:
    """Contours of a loss on x (width,) and y (height,)."""
    losses = loss(np.stack(np.meshgrid(x, y), axis=-1))
    levels = np.geomspace(max(losses.min(), 1e-3 * losses.max()), losses.max(), 16)
    axes.contour(x, y, losses, levels, colors="0.78", linewidths=0.7)


def draw_path(axes: Axes, path: Array, minimum: Array, colour: str) -> None:
    """A path (steps + 1, 2) from a circle on, and a star at the minimum (2,)."""
    axes.plot(path[:, 0], path[:, 1], ".-", color=colour, markersize=4, linewidth=1)
    axes.plot(path[0, 0], path[0, 1], "o", color=colour, markerfacecolor="white")
    axes.plot(*minimum, "*", color="black", markersize=11)


def draw_paths(squares: LeastSquares, paths: Mapping[str, Array]) -> Figure:
    """Weight and bias (steps + 1, 2) on the loss surface, one panel per variant."""
    start, solution = next(iter(paths.values()))[0], squares.solution
    reach = 1.25 * np.abs(start - solution).max()
    weights, biases = (np.linspace(c - reach, c + reach, 80) for c in solution)
    figure, cells = panels(len(paths), 3, (3.3, 3.1), 0.0, sharex=True, sharey=True)
    for colour, axes, (variant, path) in zip(COLOURS, cells, paths.items(), strict=False):
        _contours(axes, squares.loss, weights, biases)
        draw_path(axes, path, solution, colour)
        axes.set_title(f"{variant}, {len(path) - 1} steps", fontsize=10)
        axes.set(xlim=weights[[0, -1]], ylim=biases[[0, -1]])
    figure.supxlabel("weight", fontsize=10)
    figure.supylabel("bias", fontsize=10)
    return figure


def draw_zigzag(rows: Sequence[tuple[str, Surface, Mapping[str, tuple[Array, int]]]]) -> Figure:
    """One row of panels per surface with its title; paths and their steps to the target, by rule.

    The whole path is drawn; its steps to the target are in the title.
    """
    columns = len(rows[0][2])
    figure, cells = panels(len(rows) * columns, columns, (2.6, 2.5), 0.0)
    for row, (title, surface, paths) in enumerate(rows):
        every = np.vstack([surface.minimum[None], *(path for path, _ in paths.values())])
        low, high = every.min(0), every.max(0)
        x, y = np.linspace(low - 0.15 * (high - low), high + 0.15 * (high - low), 120).T
        in_row = cells[row * columns : (row + 1) * columns]
        in_row[0].set_ylabel(title)
        for colour, axes, rule in zip(COLOURS, in_row, paths, strict=False):
            path, num_steps = paths[rule]
            _contours(axes, surface.loss, x, y)
            draw_path(axes, path, surface.minimum, colour)
            axes.set_title(f"{rule}: {num_steps} steps", fontsize=9)
            axes.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
    return figure


def draw_speed(
    steps: Mapping[str, Mapping[float, Sequence[float]]],
    factors: Mapping[str, Mapping[float, float]],
    theory: Mapping[str, Mapping[float, float]],
    steps_of: Callable[[float], float],
) -> Figure:
    """Steps and shrinkage on the bowls by condition number: measured as dots, theory dashed.

    Args:
        steps: Steps to the target of each starting point, by rule and condition number.
        factors: Mean factor by which a step shrinks the distance, by rule and condition number.
        theory: The same in theory.
        steps_of: Steps to the target at a factor.
    """
    figure, (left, right) = panels(2, 2, (4.2, 3.6), 0.4)
    for place, (rule, by_condition) in enumerate(steps.items()):
        colour = COLOURS[place]
        conditions = np.array([*by_condition])
        values = np.array([*by_condition.values()])  # (conditions, seeds)
        shifted = conditions * 1.09 ** (place - 1.5)  # so that no dot hides another
        middle = np.median(values, axis=1)
        ends = np.abs(np.stack([values.min(1), values.max(1)]) - middle)
        left.errorbar(shifted, middle, ends, fmt="o", color=colour, markersize=5, label=rule)
        gaps = 1 - np.array([*factors[rule].values()])
        right.plot(shifted, gaps, "o", color=colour, markersize=5)
        if rule in theory:
            fine = np.array([*theory[rule]])
            ideal = np.array([*theory[rule].values()])
            label = f"{rule}, theory"
            left.plot(fine, [steps_of(each) for each in ideal], "--", color=colour, label=label)
            right.plot(fine, 1 - ideal, "--", color=colour)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="condition number k")
    left.set_ylabel("steps to 1 % of the first loss")
    right.set_ylabel("1 - factor of the distance per step")
    legend_above(figure, left)
    return figure


def draw_decay(
    losses: Mapping[str, Array], ideal: Mapping[str, float], num_steps: int, title: str
) -> Figure:
    """Loss (steps + 1,) of each rule, and dashed the first loss shrinking by a factor per step."""
    figure, axes = panel(5.6, 3.8, xlabel="step", ylabel="loss / first loss", yscale="log")
    for colour, (rule, loss) in zip(COLOURS, losses.items(), strict=False):
        shares = np.maximum(loss[: num_steps + 1] / loss[0], 1e-8)
        axes.plot(shares, color=colour, label=rule)
        if rule in ideal:
            decay = ideal[rule] ** np.arange(num_steps + 1)
            axes.plot(decay, "--", color=colour, linewidth=1, label=f"{rule}, theory")
    axes.axhline(0.01, color=MARK, linewidth=0.8)
    axes.set(ylim=(1e-6, 4), title=title)
    axes.legend(frameon=False, fontsize=8)
    return figure


def draw_learning_rates(ratios: Mapping[str, tuple[float, float]], limit: float) -> Figure:
    """Learning rate and last / first excess loss, by variant, with the limit of stability."""
    figure, axes = panel(5.6, 3.8, xlabel="learning rate", ylabel="excess loss, last / first")
    for colour, (variant, (lr, ratio)) in zip(COLOURS, ratios.items(), strict=False):
        axes.plot(lr, max(ratio, TINY), "o", color=colour, markersize=9, label=variant)
    axes.axvline(limit, color=MARK, linestyle="--", label=f"2 / largest eigenvalue = {limit:.3f}")
    axes.axhline(1, color=MARK, linewidth=0.8)
    axes.set(xscale="log", yscale="log")
    axes.legend(frameon=False, fontsize=9)
    return figure


def draw_minima(walks: Sequence[Curve]) -> Figure:
    """Descents on ``TWO_MINIMA``: positions and values after each step."""
    figure, axes = panel(5.6, 3.8, xlabel="x", ylabel="f(x)")
    axes.plot(*TWO_MINIMA.linspace(300, domain=(-2.5, 2.5)), color=MARK)
    for colour, (at, value) in zip(COLOURS, walks, strict=False):
        axes.plot(at, value, ".-", color=colour, linewidth=1)
        axes.plot(at[0], value[0], "o", color=colour, markerfacecolor="white", markersize=9)
        axes.plot(at[-1], value[-1], "*", color=colour, markersize=12)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    return figure
