"""How a classifier bears images that are not as they were: accuracy under growing corruption.

Each corruption is deterministic: an amount and the number of a sample decide what is done to it, so
that models and runs are compared on the same images. Two directions (left and right, lighter and
darker) are shared out among the samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from sklearn.metrics import auc

from project.core.arrays import Array, Indexed, Indices
from project.models.base import Model
from project.models.tasks import Classifier

BATCH = 1024


@dataclass(frozen=True)
class Corruption:
    """One way in which images change.

    Attributes:
        amounts: growing; the first, 0, leaves them as they are.
        unit: of the amounts.
        apply: makes (H, W, C) uint8 of an image, a signed amount, and a source of random numbers.
    """

    amounts: tuple[float, ...]
    unit: str
    apply: Callable[[Array, float, np.random.Generator], Array]


@dataclass(frozen=True)
class Curve:
    """Accuracy over amounts.

    Attributes:
        amounts: growing.
        accuracies: at each.
    """

    amounts: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the curve as a share: the mean accuracy over the range of amounts."""
        return float(auc(self.amounts, self.accuracies)) / self.amounts[-1]


def _affine(image: Array, matrix: Array, shift: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Maps an image by a matrix about its centre; what comes in from outside is 0."""
    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - matrix @ centre + np.array(shift)
    changed = cv2.warpAffine(
        image, np.column_stack([matrix, offset]), (width, height), flags=cv2.INTER_LINEAR
    )
    return np.asarray(changed).reshape(image.shape)


def _rotate(image: Array, amount: float, rng: np.random.Generator) -> Array:
    angle = np.deg2rad(amount)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return _affine(image, turn)


def _scale(image: Array, amount: float, rng: np.random.Generator) -> Array:
    return _affine(image, np.eye(2) * (1 + amount if amount > 0 else 1 / (1 - amount)))


def _shear(image: Array, amount: float, rng: np.random.Generator) -> Array:
    return _affine(image, np.array([[1, np.tan(np.deg2rad(amount))], [0, 1]]))


def _shift(image: Array, amount: float, rng: np.random.Generator) -> Array:
    # Sideways or up and down, by the same length.
    length = amount * image.shape[1]
    return _affine(image, np.eye(2), (length, 0.0) if rng.random() < 0.5 else (0.0, length))


def _reflect(image: Array, amount: float, rng: np.random.Generator) -> Array:
    return image[:, ::-1] if rng.random() < abs(amount) else image


def _add_noise(image: Array, amount: float, rng: np.random.Generator) -> Array:
    noise = rng.normal(0.0, 255 * abs(amount), image.shape)
    return _as_bytes(image + noise)


def _brighten(image: Array, amount: float, rng: np.random.Generator) -> Array:
    return _as_bytes(image + 255 * amount)


def _contrast(image: Array, amount: float, rng: np.random.Generator) -> Array:
    mean = image.mean()
    return _as_bytes(mean + (image - mean) * (1 + amount))


def _as_bytes(image: Array) -> Array:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


CORRUPTIONS: Mapping[str, Corruption] = {
    "rotation": Corruption((0, 15, 30, 45, 60), "degrees", _rotate),
    "scale": Corruption((0, 0.15, 0.3, 0.45, 0.6), "larger or smaller by", _scale),
    "shear": Corruption((0, 10, 20, 30, 40), "degrees", _shear),
    "shift": Corruption((0, 0.08, 0.16, 0.24, 0.32), "of the width", _shift),
    "reflection": Corruption((0, 0.25, 0.5, 0.75, 1), "share that is mirrored", _reflect),
    "noise": Corruption((0, 0.1, 0.2, 0.3, 0.4), "standard deviation / full scale", _add_noise),
    "brightness": Corruption((0, 0.15, 0.3, 0.45, 0.6), "of full scale", _brighten),
    "contrast": Corruption((0, 0.225, 0.45, 0.675, 0.9), "stronger or weaker by", _contrast),
}


def corrupt(images: Array, indices: Indices, name: str, amount: float) -> Array:
    """Changes images.

    Args:
        images: (N, H, W, C) uint8.
        indices: (N,) of the samples in their data set.
        name: of the corruption.
        amount: from 0, in its unit.

    Returns:
        (N, H, W, C) uint8.
    """
    if amount == 0:
        return images
    change = CORRUPTIONS[name].apply
    changed = np.empty_like(images)
    for position, index in enumerate(indices.tolist()):
        rng = np.random.default_rng(index)
        sign = rng.choice([-1, 1])
        changed[position] = change(images[position], sign * amount, rng)
    return changed


def classifies_images(model: Model) -> bool:
    """Whether it is a model whose robustness can be measured."""
    return model.spec.is_image and isinstance(model.task, Classifier)


def measure_robustness(
    model: Model,
    images: Indexed,
    targets: Array,
    indices: Indices,
    device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
) -> dict[str, Curve]:
    """Accuracy under each corruption.

    Args:
        model: a classifier.
        images: (N, H, W, C) uint8.
        targets: (N,) classes.
        indices: (N,) of the samples in their data set.
        device: to compute on.
    """
    model.to(device).eval()
    return {
        name: Curve(
            corruption.amounts,
            tuple(
                float((_predict(model, images, indices, name, amount, device) == targets).mean())
                for amount in corruption.amounts
            ),
        )
        for name, corruption in CORRUPTIONS.items()
    }


@torch.inference_mode()
def _predict(
    model: Model, images: Indexed, indices: Indices, name: str, amount: float, device: torch.device
) -> Array:
    """Classes (N,) of changed images."""
    parts = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        changed = np.ascontiguousarray(corrupt(images[part], indices[part], name, amount))
        parts.append(model(torch.from_numpy(changed).to(device)).argmax(1))
    return np.asarray(torch.cat(parts).cpu().numpy())
