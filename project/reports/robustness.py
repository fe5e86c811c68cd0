"""Accuracy of an image classifier under corruptions of increasing severity, and its calibration.

A corruption is a function of its amount and the sample's index, so that models and runs are
compared on the same images. Its direction (left or right, lighter or darker) varies by sample.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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

    Attributes:
        amounts: Increasing amounts; the first, 0, leaves the images unchanged.
        unit: Unit of the amounts.
        apply: Function from (N, H, W, C) uint8 images, a signed amount and one random generator for
            each image to the corrupted images.
    """

    amounts: tuple[float, ...]
    unit: str
    apply: Callable[[Array, float, Sequence[Generator]], Array]


@dataclass(frozen=True)
class RobustnessCurve:
    """Accuracy as a function of the amount of a corruption.

    Attributes:
        amounts: Increasing amounts, in the corruption's unit.
        accuracies: Accuracy at each amount.
        area: Area under the curve over the range of amounts, which is the mean accuracy.
    """

    amounts: tuple[float, ...]
    accuracies: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class Robustness:
    """Robustness and calibration of a classifier on the validation images.

    Attributes:
        run_id: MLflow run id.
        num_samples: Number of validation images.
        curves: Accuracy over the amount, by corruption.
        calibration_error: Expected calibration error over 15 bins (arXiv:1706.04599).
    """

    run_id: str
    num_samples: int
    curves: Mapping[str, RobustnessCurve]
    calibration_error: float


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


def area_under(amounts: Sequence[float], accuracies: Sequence[float]) -> float:
    """Area under the curve over the range of amounts, a share: the mean accuracy."""
    return float(auc(amounts, accuracies)) / amounts[-1]


def classifies_images(model: Model) -> bool:
    """Whether the model is an image classifier, whose robustness can be measured."""
    return model.spec.is_image and isinstance(model.task, Classifier)


@torch.inference_mode()
def measure_robustness(
    model: Model,
    images: Indexed,
    targets: Array,
    indices: Indices,
    device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
) -> dict[str, RobustnessCurve]:
    """Accuracy under each corruption.

    Args:
        model: Image classifier.
        images: Images (N, H, W, C) uint8.
        targets: Class indices (N,).
        indices: Indices (N,) of the samples in their data set.
        device: Device to compute on.
    """
    model.to(device).eval()

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
    """Measures a classifier on corrupted validation images; logs numbers and figures to its run.

    Args:
        run: Finished run.
        data: Data of the run; the test set stays sealed.
        model: Best model of the run.
        device: Device to compute on.

    Raises:
        UserError: The model is not an image classifier.
    """
    if not classifies_images(model):
        raise UserError(
            f"robustness: true: run {run.id} is not an image classifier: expected robustness=false"
        )
    images, targets, indices = data.val.inputs, data.val.targets, data.val.indices
    _, probabilities = measure(model, data.val_dataloader()[0], device)
    error = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(targets), data.spec.num_outputs
    ).item()
    curves = measure_robustness(model, images, targets, indices, device)
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
            ("robustness", figures.robustness_curves(drawn, units)),
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
