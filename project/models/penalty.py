"""Penalties on the weights as extra terms of the loss: lasso, ridge and elastic net."""

import torch
from torch import Tensor, nn

from project.core.types import NonNegative


class Penalty:
    """``l1 * sum |w| + l2 * sum w^2`` over the weights, without biases and norms.

    Both together are the elastic net (https://doi.org/10.1111/j.1467-9868.2005.00503.x).

    Args:
        l1: Factor of the sum of absolute weights, >= 0; it drives weights to zero.
        l2: Factor of the sum of squared weights, >= 0; it shrinks weights.
    """

    def __init__(self, l1: NonNegative = 0.0, l2: NonNegative = 0.0) -> None:
        self.l1 = l1
        self.l2 = l2

    @property
    def is_zero(self) -> bool:
        """Whether the penalty is always 0."""
        return self.l1 == 0 and self.l2 == 0

    def __call__(self, model: nn.Module) -> Tensor:
        """Penalty on a model's trainable weights, a scalar."""
        weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        terms = [self.l1 * weight.abs().sum() for weight in weights if self.l1]
        terms += [self.l2 * weight.square().sum() for weight in weights if self.l2]
        return torch.stack(terms).sum()
