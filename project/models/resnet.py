"""Residual network for small images (https://arxiv.org/abs/1512.03385, section 4.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from project.core.types import Count, Probability, Spec
from project.models.base import Model
from project.models.layers import Dropout, NormName, make_norm


def convolution(
    in_channels: int, out_channels: int, size: int, stride: int, norm: NormName
) -> tuple[nn.Module, nn.Module]:
    """A convolution of size x size pixels, padded at the border, and its normalisation."""
    layer = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    return layer, make_norm(norm, out_channels)


class Residual(nn.Module):
    """Two 3 x 3 convolutions, the first one strided, beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: NormName) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *convolution(in_channels, out_channels, 3, stride, norm),
            nn.ReLU(inplace=True),
            *convolution(out_channels, out_channels, 3, 1, norm),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(*convolution(in_channels, out_channels, 1, stride, norm))

    def forward(self, inputs: Tensor) -> Tensor:
        """Output (B, C', H / stride, W / stride) for (B, C, H, W)."""
        return F.relu(self.shortcut(inputs) + self.residual(inputs))


class ResNet(Model):
    """Three stages of residual blocks, global average pooling, dropout and one linear layer.

    Images of 96 pixels and more first pass through the stem of the ImageNet networks, which divides
    their height and width by four.

    Args:
        width: Number of channels of the first stage, >= 1; each further stage doubles them.
        depth: Number of residual blocks per stage, >= 1.
        dropout: Probability of dropping a pooled feature during training, in [0, 1).
        norm: Normalisation after each convolution.
    """

    needs = "image"

    def __init__(
        self,
        spec: Spec,
        width: Count = 32,
        depth: Count = 2,
        dropout: Probability = 0.2,
        norm: NormName = "batch",
    ) -> None:
        super().__init__(spec)
        height, breadth, channels = spec.shape
        size, stride = (7, 2) if min(height, breadth) >= 96 else (3, 1)
        layers = [*convolution(channels, width, size, stride, norm), nn.ReLU(inplace=True)]
        if stride == 2:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        channels = width
        for stage in range(3):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Residual(channels, width << stage, stride, norm))
                channels = width << stage
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(channels, spec.num_outputs),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) for raw images (B, H, W, C)."""
        outputs: Tensor = self.head(self.features(self.scale(inputs)))
        return outputs
