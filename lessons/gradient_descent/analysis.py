"""Trajectories of optimisers on the loss surface of one weight and one bias."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from lessons.descent import loss_curves
from lessons.least_squares import LeastSquares, solve
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.models.linear import Linear

from . import figures as drawing

STARTS = (-2.2, -0.1, 0.3, 2.2)  # of the descents on the function with two minima


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
    first = {variant: of_variant[0] for variant, of_variant in runs.items()}
    solved = {variant: _trajectory(trained) for variant, trained in first.items()}
    paths = {variant: path for variant, (_, path) in solved.items()}
    squares = next(iter(solved.values()))[0]
    yield _surface(squares, paths)
    yield (
        "excess_loss",
        loss_curves(
            {v: (np.arange(len(path)), squares.excess_loss(path)) for v, path in paths.items()},
            "loss - smallest loss",
        ),
        "Loss of one seed above the smallest possible loss, over the steps.",
    )
    plain = {
        variant: trained
        for variant, trained in first.items()
        if trained.config.optimizer["_target_"].endswith("SGD")
        and not trained.config.optimizer.get("momentum")
    }
    yield (
        "learning_rates",
        drawing.learning_rates(
            {
                variant: (
                    trained.config.optimizer["lr"],
                    10 ** trained.metrics["descent/log10_excess_ratio"],
                )
                for variant, trained in plain.items()
            },
            squares.largest_lr,
        ),
        "Plain gradient descent: ratio of the last to the first excess loss, by learning rate. To "
        "the right of the dashed line, computed from the Hessian, the loss must grow.",
    )
    walks = [descend(start) for start in STARTS]
    ends = ", ".join(f"{x[0]:g} ends at {x[-1]:.2f}" for x, _ in walks)
    x = np.linspace(-2.5, 2.5, 300)
    yield (
        "two_minima",
        drawing.two_minima(x, two_minima(torch.from_numpy(x)).numpy(), walks),
        f"f(x) = x^4 / 4 - x^2 + x / 4 has two minima: the descent from {ends}.",
    )


def _surface(squares: LeastSquares, paths: Mapping[str, Array]) -> Drawn:
    start = next(iter(paths.values()))[0]
    reach = 1.25 * np.abs(start - squares.solution).max()
    weights, biases = (np.linspace(c - reach, c + reach, 80) for c in squares.solution)
    losses = squares.loss(np.stack(np.meshgrid(weights, biases), axis=-1))
    return (
        "paths",
        drawing.paths((weights, biases), losses, squares.solution, paths),
        "Loss as a function of weight and bias, for the training samples of one seed; each contour "
        "is labelled with its loss. Each optimiser starts at the circle; the star marks the "
        "closed-form solution.",
    )


def two_minima(x: torch.Tensor) -> torch.Tensor:
    """A non-convex function."""
    return x**4 / 4 - x**2 + x / 4


def descend(start: float, lr: float = 0.05, num_steps: int = 100) -> tuple[Array, Array]:
    """Gradient descent on ``two_minima``: x and its value at the start and after each step."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=lr)
    visited = [x.item()]
    for _ in range(num_steps):
        optimizer.zero_grad()
        two_minima(x).backward()
        optimizer.step()
        visited.append(x.item())
    path = torch.tensor(visited, dtype=torch.float64)
    return path.numpy(), two_minima(path).numpy()


ANALYSIS = Analysis(
    ("descent/distance", "descent/log10_excess_ratio", "descent/lr_over_limit"),
    measure,
    figures,
    supports=lambda model: isinstance(model, Linear) and model.spec.num_features == 1,
    needs="model=linear and data with one input column",
)
