"""Accuracy of an image classifier under corruptions of increasing severity, and its calibration.

A corruption is a function of its amount and the sample's index, so that models and runs are
compared on the same images. Its direction (left or right, lighter or darker) varies by sample.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from rich.table import Table
from sklearn.metrics import auc
from torchmetrics.functional.classification import multiclass_calibration_error
from torchvision.transforms.v2 import InterpolationMode, functional

from project.core.arrays import Array, Indexed, Indices
from project.core.console import stdout
from project.core.errors import UserError
from project.data.module import DataModule
from project.figures import robustness as figures
from project.models.base import Model
from project.models.tasks import Classifier
from project.reports.run import measure
from project.tracking.run import Run

BATCH_SIZE = 1024


@dataclass(frozen=True)
class Corruption:
    """One way in which images change.

    ``apply`` takes uint8 images (N, H, W, C), a signed amount and a random generator per image; the
    images that it returns may have fractions and exceed the range.
    """

    amounts: tuple[float, ...]  # increasing; the first, 0, leaves the images unchanged
    unit: str
    apply: Callable[[Array, float, Sequence[Generator]], Array]


def _affine(images: Array, **changes: Any) -> Array:
    """Maps images about their centres, bilinearly; pixels from outside are 0."""
    identity = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    arguments = {**identity, **changes, "interpolation": InterpolationMode.BILINEAR}
    outputs = functional.affine(torch.from_numpy(images).permute(0, 3, 1, 2), **arguments)
    return np.asarray(outputs.permute(0, 2, 3, 1).numpy())


def _shift(images: Array, amount: float, rngs: Sequence[Generator]) -> Array:
    # Sideways or up and down, by the same length.
    length = amount * images.shape[2]
    sideways, upright = (_affine(images, translate=each) for each in ([length, 0], [0, length]))
    return np.where(_choose(rngs, 0.5), sideways, upright)


def _noise(images: Array, amount: float, rngs: Sequence[Generator]) -> Array:
    scale, shape = 255 * abs(amount), images.shape[1:]
    return images + np.stack([rng.normal(0.0, scale, shape) for rng in rngs])


def _choose(rngs: Sequence[Generator], probability: float) -> Array:
    """Random choices (N, 1, 1, 1), true with that probability."""
    return np.array([rng.random() < probability for rng in rngs]).reshape(-1, 1, 1, 1)


CORRUPTIONS = {
    "rotation": Corruption((0, 15, 30, 45, 60), "degrees", lambda x, a, _: _affine(x, angle=-a)),
    "scale": Corruption(
        (0, 0.15, 0.3, 0.45, 0.6),
        "larger or smaller by",
        lambda x, a, _: _affine(x, scale=1 + a if a > 0 else 1 / (1 - a)),
    ),
    "shear": Corruption((0, 10, 20, 30, 40), "degrees", lambda x, a, _: _affine(x, shear=[-a, 0])),
    "shift": Corruption((0, 0.08, 0.16, 0.24, 0.32), "of the width", _shift),
    "reflection": Corruption(
        (0, 0.25, 0.5, 0.75, 1),
        "share that is mirrored",
        lambda x, a, rngs: np.where(_choose(rngs, abs(a)), x[:, :, ::-1], x),
    ),
    "noise": Corruption((0, 0.1, 0.2, 0.3, 0.4), "standard deviation / full scale", _noise),
    "brightness": Corruption(
        (0, 0.15, 0.3, 0.45, 0.6), "of full scale", lambda x, a, _: x + 255 * a
    ),
    "contrast": Corruption(
        (0, 0.225, 0.45, 0.675, 0.9),
        "stronger or weaker by",
        lambda x, a, _: x + a * (x - x.mean(axis=(1, 2, 3), keepdims=True)),
    ),
}


def corrupt(images: Array, indices: Indices, name: str, amount: float) -> Array:
    """Corrupts uint8 images (N, H, W, C) by an amount >= 0 in the unit of the corruption.

    ``indices`` (N,) of the samples in their data set seed the direction and the noise.
    """
    if amount == 0:
        return images
    rngs = [np.random.default_rng(index) for index in indices.tolist()]
    signs = np.array([rng.choice([-1, 1]) for rng in rngs])
    changed = np.empty_like(images)
    for sign in np.unique(signs):
        chosen, signed = np.flatnonzero(signs == sign), float(sign * amount)
        values = CORRUPTIONS[name].apply(images[chosen], signed, [rngs[i] for i in chosen])
        changed[chosen] = np.clip(np.rint(values), 0, 255)
    return changed


@dataclass(frozen=True)
class RobustnessCurve:
    """Accuracy as a function of the amount of a corruption, in its unit."""

    amounts: tuple[float, ...]
    accuracies: tuple[float, ...]
    area: float  # under the curve over the range of amounts, which is the mean accuracy


@dataclass(frozen=True)
class Robustness:
    """Robustness and calibration of a classifier on the validation images."""

    run_id: str
    num_samples: int
    curves: Mapping[str, RobustnessCurve]  # by corruption
    calibration_error: float  # expected error over 15 bins (arXiv:1706.04599)


def area_under(amounts: Sequence[float], accuracies: Sequence[float]) -> float:
    """Area under the curve over the range of amounts, a share: the mean accuracy."""
    return float(auc(amounts, accuracies)) / amounts[-1]


def classifies_images(model: Model) -> bool:
    """Whether the model is an image classifier, whose robustness can be measured."""
    return model.spec.is_image and isinstance(model.task, Classifier)


@torch.inference_mode()
def measure_robustness(
    model: Model, images: Indexed, targets: Array, indices: Indices
) -> dict[str, RobustnessCurve]:
    """Accuracy over the amount of each corruption of raw images (N, H, W, C); see ``corrupt``."""
    device = next(model.eval().parameters()).device

    def accuracy(name: str, amount: float) -> float:
        num_right = 0
        for start in range(0, len(images), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            changed = np.ascontiguousarray(corrupt(images[part], indices[part], name, amount))
            predicted = model(torch.from_numpy(changed).to(device)).argmax(1)
            num_right += int((predicted.cpu().numpy() == targets[part]).sum())
        return num_right / len(images)

    curves = {}
    for name, each in CORRUPTIONS.items():
        accuracies = tuple(accuracy(name, amount) for amount in each.amounts)
        area = area_under(each.amounts, accuracies)
        curves[name] = RobustnessCurve(each.amounts, accuracies, area)
    return curves


def report_robustness(run: Run, data: DataModule, model: Model, device: torch.device) -> Robustness:
    """Measures a run's best model on corrupted val images; logs numbers and figures to the run."""
    if not classifies_images(model):
        fault = f"run {run.id} is not an image classifier"
        raise UserError(f"robustness: true: {fault}: expected robustness=false")
    images, targets, indices = data.val.inputs, data.val.targets, data.val.indices
    _, probabilities = measure(model, data.val_dataloader()[0], device)
    pair = torch.from_numpy(probabilities), torch.from_numpy(targets)
    error = multiclass_calibration_error(*pair, data.spec.num_outputs).item()
    curves = measure_robustness(model, images, targets, indices)
    for name, curve in curves.items():
        for step, accuracy in enumerate(curve.accuracies):
            run.log_metrics({f"val_robustness/{name}": accuracy}, step)
    areas = {f"val_robustness/{name}_area": curve.area for name, curve in curves.items()}
    run.log_metrics({**areas, "calibration/error": error}, step=0)
    examples = {
        name: {amount: corrupt(images[:1], indices[:1], name, amount)[0] for amount in each.amounts}
        for name, each in CORRUPTIONS.items()
    }
    drawn = {name: {"": [(c.amounts, c.accuracies)]} for name, c in curves.items()}
    units = {name: each.unit for name, each in CORRUPTIONS.items()}
    is_right, confidences = probabilities.argmax(1) == targets, probabilities.max(1)
    run.log_figures(
        [
            ("robustness", figures.accuracy_curves(drawn, units)),
            ("corruptions", figures.corruption_sheet(examples)),
            ("reliability", figures.reliability(confidences, is_right, error)),
        ]
    )
    return Robustness(run.id, len(targets), curves, error)


def show_robustness(result: Robustness) -> None:
    """Prints the accuracies of each corruption and the calibration error."""
    title = f"val/accuracy of run {result.run_id} on {result.num_samples} corrupted images"
    table = Table("corruption", "accuracy, from least to most", "area under the curve", title=title)
    table.title_justify = "left"
    for name, curve in result.curves.items():
        accuracies = "  ".join(f"{value:.3f}" for value in curve.accuracies)
        last = f"to {curve.amounts[-1]:g} {CORRUPTIONS[name].unit}"
        table.add_row(f"{name}, {last}", accuracies, f"{curve.area:.3f}")
    stdout().print(table)
    print(f"expected calibration error {result.calibration_error:.4f}")
