"""Linear regression; on classes, multinomial logistic regression."""

import math

from torch import Tensor, nn

from project.models.base import Model
from project.types import Spec


class Linear(Model):
    """One linear layer on the standardised inputs, from zero: gradient descent starts at y = mean.

    Args:
        spec: of the data.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.fc = nn.Linear(math.prod(spec.shape), spec.num_outputs)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) of raw inputs, (B, H, W, C) or (B, F)."""
        outputs: Tensor = self.fc(self.scale(inputs).flatten(1))
        return outputs
