"""Linear regression in closed form, and its descent: shared by lessons on linear models."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from project.core.arrays import Array, Curve
from project.data.module import DataModule
from project.figures.style import COLOURS, panel
from project.models.linear import Linear

TINY = 1e-16  # drawn instead of smaller values on a logarithmic axis


@dataclass(frozen=True)
class LeastSquares:
    """The mean squared error of a linear model over its training samples."""

    design: Array  # (N, features + 1); the last column is ones
    targets: Array  # standardised, (N,)
    solution: Array  # weights, then the bias, of the smallest loss, (features + 1,)
    hessian: Array  # of the loss, the same everywhere, (features + 1, features + 1)

    def loss(self, parameters: Array) -> Array:
        """Mean squared error of parameters (..., features + 1)."""
        residuals = parameters @ self.design.T - self.targets
        return np.asarray((residuals**2).mean(axis=-1))

    def excess_loss(self, parameters: Array) -> Array:
        """Loss of parameters (..., features + 1) above the smallest loss."""
        return self.loss(parameters) - self.loss(self.solution)

    @property
    def largest_lr(self) -> float:
        """2 / largest eigenvalue of the Hessian: above it gradient descent diverges."""
        return 2 / float(np.linalg.eigvalsh(self.hessian)[-1])


@torch.inference_mode()
def solve(model: Linear, data: DataModule) -> LeastSquares:
    """Solves the normal equations by orthogonal decomposition, in double precision."""
    features = model.features(torch.from_numpy(data.train.inputs)).double().numpy()
    design = np.column_stack([features, np.ones(len(features))])
    targets = (data.train.targets.astype(float) - data.spec.target_mean) / data.spec.target_std
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    return LeastSquares(design, targets, solution, 2 * design.T @ design / len(design))


def draw_losses(
    losses: Mapping[str, Curve], y_label: str, floors: Mapping[str, float] | None = None
) -> Figure:
    """Losses over the steps on a logarithmic axis, and dotted the smallest possible ones."""
    figure, axes = panel(5.6, 3.8, xlabel="step", ylabel=y_label, yscale="log")
    for colour, (variant, (steps, values)) in zip(COLOURS, losses.items(), strict=False):
        axes.plot(steps, np.maximum(values, TINY), color=colour, label=variant)
        if floors is not None:
            axes.axhline(floors[variant], color=colour, linestyle=":", linewidth=1)
    axes.legend(frameon=False, fontsize=9)
    return figure
