"""Paths of optimisers on the loss surface of a weight and a bias, and how fast is too fast."""

from collections.abc import Iterator

import numpy as np
import torch

from lessons import descent
from lessons.least_squares import LeastSquares, solve
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.models.linear import Linear

STARTS = (-2.2, -0.1, 0.3, 2.2)  # of the descents on the function with two minima


def _path(trained: Trained) -> tuple[LeastSquares, Array]:
    """The closed form, and weight and bias (steps + 1, 2) from the start on."""
    model = trained.model
    assert isinstance(model, Linear)
    start = [trained.config.model["start"]] * 2
    columns = [trained.history(name)[1] for name in ("weight/0", "bias")]
    return solve(model, trained.data), np.vstack([start, np.column_stack(columns)])


def measure(trained: Trained) -> dict[str, float]:
    """Where descent ended, how the loss has changed, and its lr as a share of the limit."""
    squares, path = _path(trained)
    excess = squares.loss(path) - squares.loss(squares.solution)
    # As a logarithm: the ratio itself scatters over orders of magnitude.
    return {
        "descent/distance": float(np.abs(path[-1] - squares.solution).max()),
        "descent/log10_excess_ratio": float(np.log10(max(excess[-1], 1e-16) / excess[0])),
        "descent/lr_over_limit": trained.config.optimizer["lr"] / squares.largest_lr,
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Paths on the surface, losses, learning rates against the limit, and two minima."""
    found = {name: of_variant[0] for name, of_variant in runs.items() if of_variant}
    taken = {name: _path(trained) for name, trained in found.items()}
    squares, path = next(iter(taken.values()))
    reach = 1.25 * np.abs(path[0] - squares.solution).max()
    weights, biases = (np.linspace(c - reach, c + reach, 80) for c in squares.solution)
    surface = squares.loss(np.stack(np.meshgrid(weights, biases), axis=-1))
    yield (
        "paths",
        descent.paths(
            (weights, biases),
            surface,
            squares.solution,
            {name: p for name, (_, p) in taken.items()},
        ),
        "The loss as a surface over weight and bias, for the training samples of one seed, each "
        "line with its loss, and the way of each optimiser from the circle; the star is the closed "
        "form's solution.",
    )
    losses = {
        name: (np.arange(len(p)), squares.loss(p) - squares.loss(squares.solution))
        for name, (_, p) in taken.items()
    }
    yield (
        "excess_loss",
        descent.excess_loss(losses),
        "How much the loss of one seed exceeds the least that there is, over the steps.",
    )
    plain = {name: t for name, t in found.items() if not t.config.optimizer.get("momentum")}
    plain = {n: t for n, t in plain.items() if t.config.optimizer["_target_"].endswith("SGD")}
    yield (
        "learning_rates",
        descent.learning_rates(
            {name: trained.config.optimizer["lr"] for name, trained in plain.items()},
            {
                name: 10 ** trained.metrics["descent/log10_excess_ratio"]
                for name, trained in plain.items()
            },
            squares.largest_lr,
        ),
        "Plain gradient descent: what became of the excess loss, by learning rate. Right of the "
        "dashed line, computed from the Hessian, it must grow.",
    )
    x = np.linspace(-2.5, 2.5, 300)
    walks = [descend(start) for start in STARTS]
    ends = ", ".join(f"{at[0]:g} ends at {at[-1]:.2f}" for at, _ in walks)
    yield (
        "two_minima",
        descent.two_minima(x, two_minima(torch.from_numpy(x)).numpy(), walks),
        f"f(x) = x^4 / 4 - x^2 + x / 4 has two minima: a start at {ends}.",
    )


def two_minima(x: torch.Tensor) -> torch.Tensor:
    """A function that isn't convex."""
    return x**4 / 4 - x**2 + x / 4


def descend(start: float, lr: float = 0.05, num_steps: int = 100) -> tuple[Array, Array]:
    """Gradient descent on it: x and its value after each step."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=lr)
    visited = [x.item()]
    for _ in range(num_steps):
        optimizer.zero_grad()
        two_minima(x).backward()
        optimizer.step()
        visited.append(x.item())
    at = torch.tensor(visited, dtype=torch.float64)
    return at.numpy(), two_minima(at).numpy()


ANALYSIS = Analysis(
    ("descent/distance", "descent/log10_excess_ratio", "descent/lr_over_limit"),
    measure,
    figures,
    fits=lambda model: isinstance(model, Linear) and model.spec.num_features == 1,
    needs="model=linear of one column",
)
