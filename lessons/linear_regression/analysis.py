"""Gradient descent on the mean squared error against the solution of the normal equations."""

from collections.abc import Iterator

import numpy as np
import torch

from lessons import descent
from lessons.least_squares import LeastSquares, parameters_of, solve
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.models.linear import Linear


def _last(trained: Trained) -> tuple[Linear, LeastSquares, Array]:
    """The model after its last step, the closed form, and the model's parameters."""
    model = trained.model
    assert isinstance(model, Linear)
    model.load_state_dict(trained.last_weights)
    return model, solve(model, trained.data), parameters_of(model)


def measure(trained: Trained) -> dict[str, float]:
    """Distance of weights and bias to the closed form, and what it costs in loss."""
    _, squares, found = _last(trained)
    return {
        "closed_form/difference": float(np.abs(found - squares.solution).max()),
        "closed_form/excess_loss": float(squares.loss(found) - squares.loss(squares.solution)),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """The fitted line, and the loss over the steps of all variants."""
    losses, least = {}, {}
    for variant, of_variant in runs.items():
        if not of_variant:
            continue
        trained = of_variant[0]
        model, squares, found = _last(trained)
        if trained.data.train.inputs.shape[1] == 1:
            x = trained.data.train.inputs[:, 0]
            grid = np.linspace(x.min(), x.max(), 50, dtype=np.float32)
            with torch.inference_mode():
                descended = model.task.predict(model(torch.from_numpy(grid[:, np.newaxis])))
                features = model.features(torch.from_numpy(grid[:, np.newaxis])).numpy()
            exact = np.column_stack([features, np.ones(len(grid))]) @ squares.solution
            exact = exact * trained.data.spec.target_std + trained.data.spec.target_mean
            points = x, trained.data.train.targets
            yield (
                "fitted_line",
                descent.fitted_line(points, grid, descended.numpy(), exact),
                f"{variant}, seed {trained.seed}: training points, the line that gradient descent "
                "found, and the closed form's. They differ by "
                f"{np.abs(found - squares.solution).max():.1g} in weight and bias.",
            )
        steps, values = trained.history("train/loss")
        losses[variant] = steps, values
        least[variant] = float(squares.loss(squares.solution))
    yield (
        "loss_over_steps",
        descent.loss_over_steps(losses, least),
        "Training loss over the steps of one seed; dotted: the least that there is, by the closed "
        "form.",
    )


ANALYSIS = Analysis(
    ("closed_form/difference", "closed_form/excess_loss"),
    measure,
    figures,
    fits=lambda model: isinstance(model, Linear) and not model.spec.classes,
    needs="model=linear on values",
)
