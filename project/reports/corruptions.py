"""Corruptions of images with increasing severity.

A corruption is a function of its amount and the sample's index, so that models and runs are
compared on the same images. Its direction (left or right, lighter or darker) varies by sample.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torchvision.transforms.v2 import InterpolationMode, functional

from project.core.arrays import Array, Indices


@dataclass(frozen=True)
class Corruption:
    """One way in which images change.

    Attributes:
        amounts: Increasing amounts; the first, 0, leaves the images unchanged.
        unit: Unit of the amounts.
        apply: Function from (N, H, W, C) uint8 images, a signed amount and one random generator for
            each image to the corrupted images.
    """

    amounts: tuple[float, ...]
    unit: str
    apply: Callable[[Array, float, Sequence[Generator]], Array]


def _affine(
    images: Array,
    angle: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Array:
    """Maps images about their centres, bilinearly; pixels from outside are 0."""
    changed = functional.affine(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        angle,
        list(shift),
        scale,
        [shear, 0.0],
        InterpolationMode.BILINEAR,
    )
    return np.asarray(changed.permute(0, 2, 3, 1).numpy())


def _scale(images: Array, amount: float, rngs: Sequence[Generator]) -> Array:
    return _affine(images, scale=1 + amount if amount > 0 else 1 / (1 - amount))


def _shift(images: Array, amount: float, rngs: Sequence[Generator]) -> Array:
    # Sideways or up and down, by the same length.
    length = amount * images.shape[2]
    is_sideways = _choose(rngs, 0.5)
    return np.where(
        is_sideways, _affine(images, shift=(length, 0.0)), _affine(images, shift=(0.0, length))
    )


def _noise(images: Array, amount: float, rngs: Sequence[Generator]) -> Array:
    noise = np.stack([rng.normal(0.0, 255 * abs(amount), images.shape[1:]) for rng in rngs])
    return _as_bytes(images + noise)


def _contrast(images: Array, amount: float, rngs: Sequence[Generator]) -> Array:
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return _as_bytes(mean + (images - mean) * (1 + amount))


def _choose(rngs: Sequence[Generator], probability: float) -> Array:
    """Random choices (N, 1, 1, 1), true with that probability."""
    return np.array([rng.random() < probability for rng in rngs]).reshape(-1, 1, 1, 1)


def _as_bytes(images: Array) -> Array:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


CORRUPTIONS: Mapping[str, Corruption] = {
    "rotation": Corruption(
        (0, 15, 30, 45, 60), "degrees", lambda x, amount, _: _affine(x, angle=-amount)
    ),
    "scale": Corruption((0, 0.15, 0.3, 0.45, 0.6), "larger or smaller by", _scale),
    "shear": Corruption(
        (0, 10, 20, 30, 40), "degrees", lambda x, amount, _: _affine(x, shear=-amount)
    ),
    "shift": Corruption((0, 0.08, 0.16, 0.24, 0.32), "of the width", _shift),
    "reflection": Corruption(
        (0, 0.25, 0.5, 0.75, 1),
        "share that is mirrored",
        lambda x, amount, rngs: np.where(_choose(rngs, abs(amount)), x[:, :, ::-1], x),
    ),
    "noise": Corruption((0, 0.1, 0.2, 0.3, 0.4), "standard deviation / full scale", _noise),
    "brightness": Corruption(
        (0, 0.15, 0.3, 0.45, 0.6), "of full scale", lambda x, amount, _: _as_bytes(x + 255 * amount)
    ),
    "contrast": Corruption((0, 0.225, 0.45, 0.675, 0.9), "stronger or weaker by", _contrast),
}


def corrupt(images: Array, indices: Indices, name: str, amount: float) -> Array:
    """Applies a corruption to images.

    Args:
        images: Images (N, H, W, C) uint8.
        indices: Indices (N,) of the samples in their data set.
        name: Key of ``CORRUPTIONS``.
        amount: Amount in the corruption's unit, >= 0.

    Returns:
        Corrupted images (N, H, W, C) uint8.
    """
    if amount == 0:
        return images
    rngs = [np.random.default_rng(index) for index in indices.tolist()]
    signs = np.array([rng.choice([-1, 1]) for rng in rngs])
    changed = np.empty_like(images)
    for sign in np.unique(signs):
        chosen = np.flatnonzero(signs == sign)
        changed[chosen] = CORRUPTIONS[name].apply(
            images[chosen], float(sign * amount), [rngs[i] for i in chosen]
        )
    return changed
