"""Linear regression in closed form: the solution, and the shape of the loss around it."""

from dataclasses import dataclass

import numpy as np
import torch

from project.core.arrays import Array
from project.data.module import DataModule
from project.models.linear import Linear


@dataclass(frozen=True)
class LeastSquares:
    """The mean squared error of a linear model over its training samples.

    Attributes:
        design: Design matrix (N, features + 1); the last column is ones.
        targets: Standardised targets (N,).
        solution: Weights, then the bias, of the smallest loss, (features + 1,).
        hessian: Hessian of the loss, (features + 1, features + 1), the same everywhere.
    """

    design: Array
    targets: Array
    solution: Array
    hessian: Array

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


def parameters_of(model: Linear) -> Array:
    """Weights, then the bias, (features + 1,)."""
    weights, bias = model.fc.weight.detach().double(), model.fc.bias.detach().double()
    return torch.cat([weights.flatten(), bias]).numpy()
