"""Plain convolutional network."""

from typing import Literal

from torch import Tensor, nn

from project.core.types import Count, Probability, Spec
from project.models.base import Model
from project.models.layers import Dropout, NormName, make_norm


class CNN(Model):
    """Blocks of convolution, normalisation, activation and pooling, then a linear layer.

    Each block halves height and width and doubles the channels.

    Args:
        width: Number of channels of the first block, >= 1.
        depth: Number of blocks, >= 1.
        dropout: Probability of dropping a flattened feature during training, in [0, 1).
        norm: Normalisation after each convolution.
        activation: Activation after each normalisation.
    """

    needs = "image"

    def __init__(
        self,
        spec: Spec,
        width: Count = 32,
        depth: Count = 2,
        dropout: Probability = 0.2,
        norm: NormName = "batch",
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__(spec)
        height, breadth, channels = spec.shape
        if min(height, breadth) >> depth == 0:
            deepest = min(height, breadth).bit_length() - 1
            raise ValueError(
                f"depth: {depth}: each block halves the {height} x {breadth} pixels, "
                f"expected at most {deepest}"
            )
        blocks: list[nn.Module] = []
        for block in range(depth):
            wider = width << block
            blocks += [
                nn.Conv2d(channels, wider, 3, padding=1, bias=norm == "none"),
                make_norm(norm, wider),
                nn.ReLU(inplace=True) if activation == "relu" else nn.GELU(),
                nn.MaxPool2d(2),
            ]
            channels = wider
        self.features = nn.Sequential(*blocks)
        size = channels * (height >> depth) * (breadth >> depth)
        self.head = nn.Sequential(nn.Flatten(), Dropout(dropout), nn.Linear(size, spec.num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) for raw images (B, H, W, C)."""
        outputs: Tensor = self.head(self.features(self.scale(inputs)))
        return outputs
