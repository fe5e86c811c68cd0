"""Figures of gradient descent: lines, losses, surfaces and the paths on them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Array
from project.figures.style import COLOURS, MARK, TRAIN, VAL, clean, new_figure

Curve = tuple[Array, Array]  # x and y


def fitted_line(points: Curve, grid: Array, descended: Array, exact: Array) -> Figure:
    """Points, and two lines through them.

    Args:
        points: x and y of the training samples.
        grid: (G,) of x.
        descended: (G,) y of gradient descent.
        exact: (G,) y of the closed form.
    """
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    axes.plot(*points, ".", color=MARK, alpha=0.35, label="training points")
    axes.plot(grid, exact, "-", color=TRAIN, linewidth=6, alpha=0.5, label="closed form", zorder=3)
    axes.plot(grid, descended, "--", color=VAL, label="gradient descent", zorder=4)
    axes.set_xlabel("x")
    axes.set_ylabel("y")
    axes.legend(frameon=False)
    clean(axes)
    return figure


def loss_over_steps(losses: Mapping[str, Curve], least: Mapping[str, float]) -> Figure:
    """Losses, each with the least that it can reach.

    Args:
        losses: steps and values, by variant.
        least: by variant.
    """
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    for colour, (variant, (steps, values)) in zip(COLOURS, losses.items(), strict=False):
        axes.plot(steps, values, color=colour, label=variant)
        axes.axhline(least[variant], color=colour, linestyle=":", linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("train/loss (MSE, standardised)")
    axes.legend(frameon=False)
    clean(axes)
    return figure


def excess_loss(losses: Mapping[str, Curve]) -> Figure:
    """How much losses exceed the least one.

    Args:
        losses: steps and values, by variant.
    """
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    for colour, (variant, (steps, values)) in zip(COLOURS, losses.items(), strict=False):
        axes.plot(steps, np.maximum(values, 1e-16), color=colour, label=variant)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss - least loss")
    axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return figure


def paths(
    grid: tuple[Array, Array], losses: Array, solution: Array, taken: Mapping[str, Array]
) -> Figure:
    """Paths of optimisers on the loss surface of a weight and a bias.

    Args:
        grid: weights (W,) and biases (B,) of the surface.
        losses: (B, W).
        solution: (2,) where the loss is least.
        taken: (steps, 2) weight and bias after each step, by variant.
    """
    columns = min(3, len(taken))
    rows = -(-len(taken) // columns)
    figure = new_figure(3.3 * columns, 3.1 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    levels = np.geomspace(max(losses.min(), 1e-3), losses.max(), 16)
    weights, biases = grid
    for colour, axes, (variant, path) in zip(COLOURS, panels, taken.items(), strict=False):
        lines = axes.contour(weights, biases, losses, levels, colors="0.78", linewidths=0.7)
        axes.clabel(lines, levels[3::4], fontsize=7, fmt="%.2g", colors=MARK)
        axes.plot(path[:, 0], path[:, 1], ".-", color=colour, markersize=4, linewidth=1)
        axes.plot(path[0, 0], path[0, 1], "o", color=colour, markerfacecolor="white")
        axes.plot(*solution, "*", color="black", markersize=11)
        axes.set_title(f"{variant}, {len(path) - 1} steps", fontsize=10)
        axes.set_xlim(weights.min(), weights.max())
        axes.set_ylim(biases.min(), biases.max())
        clean(axes)
    for axes in panels[len(taken) :]:
        axes.axis("off")
    figure.supxlabel("weight", fontsize=10)
    figure.supylabel("bias", fontsize=10)
    return figure


def learning_rates(rates: Mapping[str, float], growth: Mapping[str, float], limit: float) -> Figure:
    """How the loss has changed over a run, by learning rate, with the limit of stability.

    Args:
        rates: learning rate, by variant.
        growth: last excess loss over the first one, by variant.
        limit: 2 / largest eigenvalue of the Hessian.
    """
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    for colour, (variant, rate) in zip(COLOURS, rates.items(), strict=False):
        axes.plot(rate, max(growth[variant], 1e-16), "o", color=colour, markersize=9, label=variant)
    axes.axvline(limit, color=MARK, linestyle="--", label=f"2 / largest eigenvalue = {limit:.3f}")
    axes.axhline(1, color=MARK, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("excess loss, last / first")
    axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return figure


def two_minima(x: Array, y: Array, walks: Sequence[Curve]) -> Figure:
    """A function with two minima and descents on it from several starts.

    Args:
        x: (N,).
        y: (N,) its values.
        walks: x and y after each step of each descent.
    """
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    axes.plot(x, y, color=MARK)
    for colour, (at, value) in zip(COLOURS, walks, strict=False):
        axes.plot(at, value, ".-", color=colour, linewidth=1)
        axes.plot(at[0], value[0], "o", color=colour, markerfacecolor="white", markersize=9)
        axes.plot(at[-1], value[-1], "*", color=colour, markersize=12)
    axes.set_xlabel("x")
    axes.set_ylabel("f(x)")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    clean(axes)
    return figure
