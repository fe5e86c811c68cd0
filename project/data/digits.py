"""Handwritten digits of 8 x 8 pixels (https://doi.org/10.24432/C50P49), from scikit-learn."""

from typing import Annotated

import cv2
import numpy as np
from annotated_types import Ge, Le
from sklearn.datasets import load_digits

from project.data.source import Source


def digits(image_size: Annotated[int, Ge(8), Le(512)] = 8) -> Source:
    """Reads 1,797 greyscale images in ten classes; needs no download.

    Args:
        image_size: Height and width in pixels, 8 to 512; images are enlarged bilinearly.
    """
    table = load_digits()
    images = np.round(table.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    if image_size != 8:
        images = np.stack([cv2.resize(image, (image_size, image_size)) for image in images])
    return Source(
        inputs=images[..., np.newaxis],
        targets=table.target.astype(np.int64),
        classes=tuple(str(name) for name in table.target_names),
    )
