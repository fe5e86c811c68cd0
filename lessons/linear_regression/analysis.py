"""Gradient descent on the mean squared error, against the closed form."""

from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.figure import Figure

from lessons.descent import LeastSquares, draw_losses, solve
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array, Curve
from project.figures.style import MARK, TRAIN, VAL, panel
from project.models.linear import Linear


def _last_step(trained: Trained) -> tuple[Linear, LeastSquares, Array]:
    """The model after its last step, the closed form, and the model's weights and bias."""
    model = trained.model
    assert isinstance(model, Linear)
    model.load_state_dict(trained.last_weights)
    parameters = torch.cat([model.fc.weight.flatten(), model.fc.bias]).detach().double().numpy()
    return model, solve(model, trained.data), parameters


def measure(trained: Trained) -> dict[str, float]:
    """Largest difference of a parameter from the closed form, and the loss it costs."""
    _, squares, parameters = _last_step(trained)
    return {
        "closed_form/difference": float(np.abs(parameters - squares.solution).max()),
        "closed_form/excess_loss": float(squares.excess_loss(parameters)),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """The fitted line, and the loss over the steps of each variant."""
    curves, floors = {}, {}
    for variant, (trained, *_) in runs.items():
        model, squares, parameters = _last_step(trained)
        curves[variant] = trained.run.history("train/loss")
        floors[variant] = float(squares.loss(squares.solution))
        if trained.data.spec.shape == (1,):
            yield (
                "fitted_line",
                _fit_line(trained, model, squares),
                f"{variant}, seed {trained.seed}: training points, the line fitted by gradient "
                "descent and that of the closed form. Their weights and biases differ by at most "
                f"{np.abs(parameters - squares.solution).max():.1g}.",
            )
    yield "loss_over_steps", draw_losses(curves, "train/loss (MSE, standardised)", floors)


def _fit_line(trained: Trained, model: Linear, squares: LeastSquares) -> Figure:
    train, spec = trained.data.train, trained.data.spec
    x = np.linspace(train.inputs[:].min(), train.inputs[:].max(), 50, dtype=np.float32)
    with torch.inference_mode():
        inputs = torch.from_numpy(x[:, np.newaxis])
        descended = model.task.predict(model(inputs)).numpy()
        features = model.features(inputs).numpy()
    exact = np.column_stack([features, np.ones(len(x))]) @ squares.solution
    exact = exact * spec.target_std + spec.target_mean
    return draw_line((train.inputs[:, 0], train.targets), x, descended, exact)


def draw_line(points: Curve, x: Array, descended: Array, exact: Array) -> Figure:
    """Training points, and at x (N,) the values of gradient descent and of the closed form."""
    figure, axes = panel(5.6, 3.8, xlabel="x", ylabel="y")
    axes.plot(*points, ".", color=MARK, alpha=0.35, label="training points")
    axes.plot(x, exact, "-", color=TRAIN, linewidth=6, alpha=0.5, label="closed form", zorder=3)
    axes.plot(x, descended, "--", color=VAL, label="gradient descent", zorder=4)
    axes.legend(frameon=False)
    return figure


ANALYSIS = Analysis(
    ("closed_form/difference", "closed_form/excess_loss"),
    measure,
    figures,
    supports=lambda model: isinstance(model, Linear) and not model.spec.classes,
    needs="model=linear and numeric targets",
)
