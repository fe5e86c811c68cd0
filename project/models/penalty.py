"""Penalties on the weights as extra terms of the loss: lasso, ridge and elastic net."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from project.core.types import NonNegative


@dataclass(frozen=True)
class Penalty:
    """``l1 * sum |w| + l2 * sum w^2`` over the weights, without biases and norms.

    Both together are the elastic net (https://doi.org/10.1111/j.1467-9868.2005.00503.x).

    Args:
        l1: Factor of the sum of absolute weights, >= 0; it drives weights to zero.
        l2: Factor of the sum of squared weights, >= 0; it shrinks weights.
    """

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0

    def __bool__(self) -> bool:
        return self.l1 > 0 or self.l2 > 0

    def __call__(self, model: nn.Module) -> Tensor:
        """Penalty on a model's trainable weights, a scalar."""
        weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        terms = [self.l1 * weight.abs().sum() for weight in weights if self.l1]
        terms += [self.l2 * weight.square().sum() for weight in weights if self.l2]
        return torch.stack(terms).sum()
