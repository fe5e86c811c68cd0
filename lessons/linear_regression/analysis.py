"""Gradient descent on the mean squared error, against the closed form."""

from collections.abc import Iterator

import numpy as np
import torch

from lessons.descent import loss_curves
from lessons.least_squares import LeastSquares, parameters_of, solve
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.models.linear import Linear

from .figures import fitted_line


def _last_step(trained: Trained) -> tuple[Linear, LeastSquares, Array]:
    """The model after its last step, the closed form, and the model's parameters."""
    model = trained.model
    assert isinstance(model, Linear)
    model.load_state_dict(trained.last_weights)
    return model, solve(model, trained.data), parameters_of(model)


def measure(trained: Trained) -> dict[str, float]:
    """Largest difference of a parameter from the closed form, and the loss it costs."""
    _, squares, parameters = _last_step(trained)
    return {
        "closed_form/difference": float(np.abs(parameters - squares.solution).max()),
        "closed_form/excess_loss": float(squares.excess_loss(parameters)),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """The fitted line, and the loss over the steps of each variant."""
    for variant, (trained, *_) in runs.items():
        if trained.data.spec.shape == (1,):
            yield _fitted_line(variant, trained)
    first = {variant: of_variant[0] for variant, of_variant in runs.items()}
    squares = {variant: _last_step(trained)[1] for variant, trained in first.items()}
    yield (
        "loss_over_steps",
        loss_curves(
            {variant: trained.history("train/loss") for variant, trained in first.items()},
            "train/loss (MSE, standardised)",
            {variant: float(each.loss(each.solution)) for variant, each in squares.items()},
        ),
        "Training loss over the steps of one seed. Dotted: the smallest possible loss, computed "
        "in closed form.",
    )


def _fitted_line(variant: str, trained: Trained) -> Drawn:
    model, squares, parameters = _last_step(trained)
    train, spec = trained.data.train, trained.data.spec
    x = np.linspace(train.inputs[:].min(), train.inputs[:].max(), 50, dtype=np.float32)
    with torch.inference_mode():
        inputs = torch.from_numpy(x[:, np.newaxis])
        descended = model.task.predict(model(inputs)).numpy()
        features = model.features(inputs).numpy()
    exact = np.column_stack([features, np.ones(len(x))]) @ squares.solution
    return (
        "fitted_line",
        fitted_line(
            (train.inputs[:, 0], train.targets),
            x,
            descended,
            exact * spec.target_std + spec.target_mean,
        ),
        f"{variant}, seed {trained.seed}: training points, the line fitted by gradient descent "
        "and that of the closed form. Their weights and biases differ by at most "
        f"{np.abs(parameters - squares.solution).max():.1g}.",
    )


ANALYSIS = Analysis(
    ("closed_form/difference", "closed_form/excess_loss"),
    measure,
    figures,
    supports=lambda model: isinstance(model, Linear) and not model.spec.classes,
    needs="model=linear and numeric targets",
)
