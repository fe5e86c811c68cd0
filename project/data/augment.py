"""Augmentation by albumentations, made a function of (seed, epoch, sample index)."""

import random
import warnings
from collections.abc import Sequence

import albumentations
import cv2
import numpy as np

from project.core.arrays import Array, Indices
from project.core.errors import UserError

# Small images gain nothing from OpenCV's threads, and in loader workers they fight over the cores.
cv2.setNumThreads(0)
# Grey images have no hue to shift; one option serves them and colour images alike.
warnings.filterwarnings("ignore", message="HueSaturationValue: hue_shift and sat_shift are not")


class Augment:
    """Applies transforms in order, each sample with a random state of its own.

    By itself albumentations draws the same numbers in every loader worker and every epoch.

    Args:
        transforms: albumentations transforms of images.
        seed: the run's seed.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform], seed: int) -> None:
        self.seed = seed
        self.compose = albumentations.Compose(list(transforms))

    def check(self, image: Array) -> None:
        """Makes sure that each transform gives an image of the same kind.

        Args:
            image: one of the training samples, (H, W, C) uint8.

        Raises:
            UserError: one doesn't.
        """
        for transform in self.compose.transforms:
            name = type(transform).__name__
            try:
                changed = transform(image=image, force_apply=True)["image"]
            except Exception as error:  # whatever albumentations, OpenCV or NumPy raise
                reason = " ".join(str(error).split())
                raise UserError(f"augment: {name} can't work on these images: {reason}") from None
            if changed.shape != image.shape or changed.dtype != image.dtype:
                raise UserError(
                    f"augment: {name} makes {changed.dtype} of shape {changed.shape} of an image: "
                    f"expected {image.dtype} of shape {image.shape}"
                )

    def __call__(self, images: Array, epoch: int, indices: Indices) -> Array:
        """Augments a batch.

        Args:
            images: (B, H, W, C) uint8.
            epoch: from 0; the same sample looks different in each.
            indices: (B,) of the samples in their data set.

        Returns:
            (B, H, W, C) uint8, a new array.
        """
        augmented = np.empty_like(images)
        for position, index in enumerate(indices.tolist()):
            generator = np.random.default_rng((self.seed, epoch, index))
            self.compose.set_random_state(generator, random.Random(generator.bytes(8)))
            augmented[position] = self.compose(image=images[position])["image"]
        return augmented
