"""Trajectories of optimisers on the loss surface of one weight and one bias."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.polynomial import Polynomial

from lessons.descent import TINY, LeastSquares, draw_losses, solve
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array, Curve
from project.figures.style import COLOURS, MARK, panel, panels
from project.models.linear import Linear

TWO_MINIMA = Polynomial([0, 1 / 4, -1, 0, 1 / 4])  # a non-convex function
STARTS = (-2.2, -0.1, 0.3, 2.2)  # of the descents on it


def _trajectory(trained: Trained) -> tuple[LeastSquares, Array]:
    """The closed form, and weight and bias (steps + 1, 2) from the start on."""
    model = trained.model
    assert isinstance(model, Linear)
    start = [trained.config.model["start"]] * 2
    columns = [trained.history(name)[1] for name in ("weight/0", "bias")]
    return solve(model, trained.data), np.vstack([start, np.column_stack(columns)])


def measure(trained: Trained) -> dict[str, float]:
    """Distance from the optimum, change of the excess loss, and lr as a share of its limit."""
    squares, path = _trajectory(trained)
    excess = squares.excess_loss(path)
    return {
        "descent/distance": float(np.abs(path[-1] - squares.solution).max()),
        # A logarithm, because the ratio varies over orders of magnitude.
        "descent/log10_excess_ratio": float(np.log10(max(excess[-1], 1e-16) / excess[0])),
        "descent/lr_over_limit": trained.config.optimizer["lr"] / squares.largest_lr,
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Trajectories, losses, learning rates against their limit, and two minima."""
    paths, losses, ratios = {}, {}, {}
    for variant, (trained, *_) in runs.items():
        squares, path = _trajectory(trained)
        paths[variant] = path
        losses[variant] = np.arange(len(path)), squares.excess_loss(path)
        optimizer = trained.config.optimizer
        if optimizer["_target_"].endswith("SGD") and not optimizer.get("momentum"):
            ratio = 10 ** trained.metrics["descent/log10_excess_ratio"]
            ratios[variant] = optimizer["lr"], ratio
    # The surface is the same for all variants: they share data and seed.
    yield "paths", draw_paths(squares, paths)
    yield "excess_loss", draw_losses(losses, "loss - smallest loss")
    yield "learning_rates", draw_learning_rates(ratios, squares.largest_lr)
    walks = [descend(start) for start in STARTS]
    ends = ", ".join(f"{x[0]:g} ends at {x[-1]:.2f}" for x, _ in walks)
    caption = f"f(x) = x^4 / 4 - x^2 + x / 4 has two minima: the descent from {ends}."
    yield "two_minima", draw_minima(walks), caption


def descend(start: float, lr: float = 0.05, num_steps: int = 100) -> Curve:
    """Gradient descent on ``TWO_MINIMA``: x and its value at the start and after each step."""
    path = [start]
    for _ in range(num_steps):
        path.append(path[-1] - lr * TWO_MINIMA.deriv()(path[-1]))
    return np.array(path), TWO_MINIMA(np.array(path))


def draw_paths(squares: LeastSquares, paths: Mapping[str, Array]) -> Figure:
    """Weight and bias (steps + 1, 2) on the loss surface, one panel per variant."""
    start, solution = next(iter(paths.values()))[0], squares.solution
    reach = 1.25 * np.abs(start - solution).max()
    weights, biases = (np.linspace(c - reach, c + reach, 80) for c in solution)
    losses = squares.loss(np.stack(np.meshgrid(weights, biases), axis=-1))
    levels = np.geomspace(max(losses.min(), 1e-3), losses.max(), 16)
    figure, cells = panels(len(paths), 3, (3.3, 3.1), 0.0, sharex=True, sharey=True)
    for colour, axes, (variant, path) in zip(COLOURS, cells, paths.items(), strict=False):
        lines = axes.contour(weights, biases, losses, levels, colors="0.78", linewidths=0.7)
        axes.clabel(lines, levels[3::4], fontsize=7, fmt="%.2g", colors=MARK)
        axes.plot(path[:, 0], path[:, 1], ".-", color=colour, markersize=4, linewidth=1)
        axes.plot(path[0, 0], path[0, 1], "o", color=colour, markerfacecolor="white")
        axes.plot(*solution, "*", color="black", markersize=11)
        axes.set_title(f"{variant}, {len(path) - 1} steps", fontsize=10)
        axes.set(xlim=weights[[0, -1]], ylim=biases[[0, -1]])
    figure.supxlabel("weight", fontsize=10)
    figure.supylabel("bias", fontsize=10)
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


ANALYSIS = Analysis(
    ("descent/distance", "descent/log10_excess_ratio", "descent/lr_over_limit"),
    measure,
    figures,
    supports=lambda model: isinstance(model, Linear) and model.spec.num_features == 1,
    needs="model=linear and data with one input column",
)
