"""Figure of an autoencoder: images and their reconstructions."""

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import grid, show_image


def reconstructions(images: Array, reconstructed: Array) -> Figure:
    """Shows images above their reconstructions, with the mean squared error of each.

    Args:
        images: Images (N, H, W, C) uint8.
        reconstructed: Reconstructions (N, H, W, C) in [0, 1].
    """
    figure, cells = grid(2 * len(images), len(images))
    for column, (image, copy) in enumerate(zip(images, reconstructed, strict=True)):
        show_image(cells[column], image)
        error = np.mean((image / 255 - copy) ** 2)
        show_image(cells[len(images) + column], copy, f"MSE {error:.4f}")
    cells[0].set_ylabel("original", fontsize=8)
    cells[len(images)].set_ylabel("reconstructed", fontsize=8)
    return figure
