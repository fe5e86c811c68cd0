"""Augmentation by albumentations, as a function of (seed, epoch, sample index)."""

import random
import warnings
from collections.abc import Sequence

import albumentations
import cv2
import numpy as np

from project.core.arrays import Array, Indices
from project.core.errors import UserError, one_line

# OpenCV's threads don't speed up small images, and compete for the cores in loader workers.
cv2.setNumThreads(0)
# The same option serves greyscale images, which have no hue to shift, and colour images.
warnings.filterwarnings("ignore", message="HueSaturationValue: hue_shift and sat_shift are not")


class Augment:
    """Applies transforms in order, with a random state per sample; ``seed`` is the run's.

    On its own, albumentations repeats the same draws in every loader worker and every epoch.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int) -> None:
        self.seed = seed
        self.compose = albumentations.Compose(list(transforms))

    def check(self, image: Array) -> None:
        """Checks that each transform keeps shape and type of a training sample, (H, W, C) uint8."""
        for transform in self.compose.transforms:
            name = type(transform).__name__
            try:
                changed = transform(image=image, force_apply=True)["image"]
            except Exception as error:  # albumentations, OpenCV and NumPy raise many types
                reason = f"can't transform these images: {one_line(error)}"
                raise UserError(f"augment: {name} {reason}") from None
            if changed.shape != image.shape or changed.dtype != image.dtype:
                raise UserError(
                    f"augment: {name} turns an image into {changed.dtype} of shape {changed.shape}:"
                    f" expected {image.dtype} of shape {image.shape}"
                )

    def __call__(self, images: Array, epoch: int, indices: Indices) -> Array:
        """Augments a copy of a batch (B, H, W, C) uint8; ``indices`` (B,) are those in the source.

        A sample is augmented differently in each epoch.
        """
        augmented = np.empty_like(images)
        for position, index in enumerate(indices.tolist()):
            generator = np.random.default_rng((self.seed, epoch, index))
            self.compose.set_random_state(generator, random.Random(generator.bytes(8)))
            augmented[position] = self.compose(image=images[position])["image"]
        return augmented
