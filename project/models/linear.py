"""Linear regression; for classes, multinomial logistic regression."""

from typing import Any

import torch
from torch import Tensor, nn

from project.core.types import Spec
from project.models.base import Model

MAX_LOGGED = 16  # number of parameters up to which each one is logged at every step


class Linear(Model):
    """One linear layer; a small one logs its parameters at every step, to show how they converge.

    Args:
        standardise: Whether the inputs are standardised; gradient descent is slower on raw ones.
        start: Initial value of each weight and bias; with 0, the first prediction is the mean.
    """

    def __init__(self, spec: Spec, standardise: bool = True, start: float = 0.0) -> None:
        super().__init__(spec)
        self.standardise = standardise
        self.fc = nn.Linear(spec.num_features, spec.num_outputs)
        nn.init.constant_(self.fc.weight, start)
        nn.init.constant_(self.fc.bias, start)

    def features(self, inputs: Tensor) -> Tensor:
        """Features (B, features) of raw inputs, (B, H, W, C) or (B, F)."""
        scale = self.scale if self.standardise else self.scale.arrange
        return scale(inputs).flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) for raw inputs, (B, H, W, C) or (B, F)."""
        outputs: Tensor = self.fc(self.features(inputs))
        return outputs

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Adds the parameters to the step's metrics: ``weight/0``, ``weight/1``, ..., ``bias``."""
        if self.fc.weight.numel() + 1 <= MAX_LOGGED:
            values = torch.cat([self.fc.weight.detach().flatten(), self.fc.bias.detach()])
            names = [*(f"weight/{i}" for i in range(self.fc.in_features)), "bias"]
            self._step |= dict(zip(names, values, strict=True))
        super().on_train_batch_end(*arguments)
