"""Figure of an autoencoder: pictures and what became of them."""

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import grid, show_image


def reconstructions(images: Array, reconstructed: Array) -> Figure:
    """Shows pictures above their reconstructions, with the mean squared error of each.

    Args:
        images: (N, H, W, C) uint8.
        reconstructed: (N, H, W, C) in [0, 1].
    """
    num_images = len(images)
    figure, cells = grid(2 * num_images, num_images)
    for column in range(num_images):
        above, below = cells[column], cells[num_images + column]
        show_image(above, images[column])
        error = np.mean((images[column] / 255 - reconstructed[column]) ** 2)
        show_image(below, reconstructed[column], f"MSE {error:.4f}")
        if column == 0:
            above.set_ylabel("original", fontsize=8)
            below.set_ylabel("reconstructed", fontsize=8)
    return figure
