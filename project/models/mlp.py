"""Multi-layer perceptron."""

from torch import Tensor, nn

from project.core.types import Count, Probability, Spec
from project.models.base import Model
from project.models.layers import Dropout


class MLP(Model):
    """Fully connected layers with ReLU and dropout.

    Args:
        width: Number of units per hidden layer, >= 1.
        depth: Number of hidden layers, >= 1.
        dropout: Probability of dropping a hidden unit during training, in [0, 1).
    """

    def __init__(
        self, spec: Spec, width: Count = 128, depth: Count = 2, dropout: Probability = 0.2
    ) -> None:
        super().__init__(spec)
        layers: list[nn.Module] = []
        size = spec.num_features
        for _ in range(depth):
            layers += [nn.Linear(size, width), nn.ReLU(), Dropout(dropout)]
            size = width
        self.network = nn.Sequential(*layers, nn.Linear(size, spec.num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) for raw inputs, (B, H, W, C) or (B, F)."""
        outputs: Tensor = self.network(self.scale(inputs).flatten(1))
        return outputs
