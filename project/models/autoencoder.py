"""Convolutional autoencoder: learns without labels to reconstruct images from a short code."""

from torch import Tensor, nn

from project.core.types import Count, Probability, Spec
from project.models.base import Model
from project.models.layers import Dropout
from project.models.tasks import Reconstructor


class Autoencoder(Model):
    """Strided convolutions to a code, and a decoder (https://doi.org/10.1126/science.1127647).

    Args:
        width: Number of channels of the first convolution, >= 1; the second has twice as many.
        latent_size: Number of values in the code of an image, >= 1.
        dropout: Probability of dropping a value of the code during training, in [0, 1).
    """

    needs = "image"
    task_type = Reconstructor

    def __init__(
        self, spec: Spec, width: Count = 32, latent_size: Count = 32, dropout: Probability = 0.0
    ) -> None:
        super().__init__(spec)
        height, breadth, channels = spec.shape
        small = -(-height // 4), -(-breadth // 4)  # two strides of 2, rounded up
        size = 2 * width * small[0] * small[1]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(size, latent_size),
            Dropout(dropout),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, size),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (2 * width, *small)),
            nn.Upsample(size=(-(-height // 2), -(-breadth // 2))),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Upsample(size=(height, breadth)),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def encode(self, inputs: Tensor) -> Tensor:
        """Codes (B, latent_size) of raw images (B, H, W, C)."""
        codes: Tensor = self.encoder(self.scale(inputs))
        return codes

    def forward(self, inputs: Tensor) -> Tensor:
        """Reconstructions (B, H, W, C) in [0, 1] of raw images (B, H, W, C)."""
        reconstructions: Tensor = self.decoder(self.encode(inputs))
        return reconstructions.permute(0, 2, 3, 1).contiguous()  # for torchmetrics
