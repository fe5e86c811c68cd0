"""Accuracy of an image classifier under corruptions of increasing severity, and its calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from sklearn.metrics import auc
from torchmetrics.functional.classification import multiclass_calibration_error

from project.core.arrays import Array, Indexed, Indices
from project.core.console import stdout
from project.core.errors import UserError
from project.data.module import DataModule
from project.figures import robustness as figures
from project.models.base import Model
from project.models.tasks import Classifier
from project.reports.corruptions import CORRUPTIONS, corrupt
from project.reports.run import measure
from project.tracking.run import Run

BATCH_SIZE = 1024


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
