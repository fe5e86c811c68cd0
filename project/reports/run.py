"""Report of a finished run: its best model, metrics, figures and data report."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from project.config.build import build_model
from project.config.check import Config
from project.core.arrays import Array
from project.core.types import Spec
from project.data.images.similar import MAX_HASHED_PER_RUN
from project.data.module import DataModule
from project.data.samples import Batch
from project.figures import predictions as drawing
from project.figures import training
from project.models.base import Model
from project.models.contract import Contract, Predictor
from project.models.tasks import Classifier, Reconstructor, Regressor, SplitMetrics
from project.reports.data import draw_augmented, summarise_data
from project.tracking.models import log_model
from project.tracking.run import Run
from project.training.devices import Devices
from project.training.results import FitResult

NUM_AUGMENTED = 8  # samples on the augmentation sheet
NUM_REBUILT = 10  # reconstructed samples in the figure


def log_best(run: Run, result: FitResult) -> None:
    """Logs the metrics of the best epoch as ``best/*``."""
    best = {f"best/{name}": value for name, value in result.metrics.items()}
    run.log_metrics(best, result.best_step)
    run.set_tags({"best_epoch": result.best_epoch, "score": f"val/{result.score_name}"})


def report(
    run: Run, config: Config, data: DataModule, model: Model, devices: Devices, result: FitResult
) -> None:
    """Gives the model its best weights; logs it, its figures and a report on the data."""
    _load_weights(run, model)
    _, predictions = measure(model, data.val_dataloader()[0], devices.torch_device)
    run.log_figures(_figures(model, data, predictions, result))
    summary = summarise_data(data, config.data_name, MAX_HASHED_PER_RUN)
    run.log_text(summary.to_json(), "data.json")
    # Exported on the CPU, because a pt2 model can't be moved to another device.
    predictor = Predictor(model.cpu().to(memory_format=torch.contiguous_format))
    num_examples = min(2, len(data.val))
    example = data.val.inputs[:num_examples]
    contract = Contract.of(model).model_dump(mode="json")
    log_model(run, predictor, example, predictions[:num_examples], result.best_step, contract)


def load_best(run: Run, config: Config, spec: Spec) -> Model:
    """The model of the best epoch, on the CPU and in eval mode."""
    architecture = dict(config.model)
    if "weights" in architecture:  # pretrained weights would be downloaded, only to be replaced
        architecture["weights"] = "none"
    model = build_model(config.model_copy(update={"model": architecture}), spec)
    _load_weights(run, model)
    return model


def _load_weights(run: Run, model: Model) -> None:
    """Gives a model the weights of the best epoch (their average, if the run has one)."""
    checkpoint = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()


@torch.inference_mode()
def measure(
    model: Model, batches: Iterable[Batch], device: torch.device
) -> tuple[dict[str, float], Array]:
    """Metrics over all batches, and the predictions (N, ...) of the task, in fp32.

    Of reconstructions only the first few: all of them are four times as large as the images.
    """
    model.to(device).eval()
    evaluation = SplitMetrics(model.task).to(device)
    parts: list[Array] = []
    for batch in batches:
        inputs, targets = (part.to(device) for part in batch)
        outputs = model(inputs)
        predictions = model.task.predict(outputs)
        reference = model.task.reference(inputs, targets)
        evaluation.add(model.task.loss(outputs, inputs, targets), predictions, reference)
        if not isinstance(model.task, Reconstructor) or sum(map(len, parts)) < NUM_REBUILT:
            parts.append(predictions.cpu().numpy())
    metrics = {name: value.item() for name, value in evaluation.compute().items()}
    return metrics, np.concatenate(parts)


def _figures(
    model: Model, data: DataModule, predictions: Array, result: FitResult
) -> Iterator[tuple[str, Figure]]:
    history = {name: np.array(values) for name, values in result.history.items()}
    # The training loss without dropout and augmentation, unlike train/loss_epoch.
    curves = {"loss": (history["val/loss"] - history["gap/loss"], history["val/loss"])}
    if result.score_name != "loss":
        name = result.score_name
        curves[name] = (history[f"train/{name}"], history[f"val/{name}"])
    yield "learning_curves", training.learning_curves(curves, result.best_epoch)
    if data.augment is not None:
        yield "augmentation", draw_augmented(data, np.arange(min(NUM_AUGMENTED, len(data.train))))
    inputs, targets = data.val.inputs, data.val.targets
    if isinstance(model.task, Classifier):
        classes = data.spec.classes
        counts = confusion_matrix(targets, predictions.argmax(1), labels=range(len(classes)))
        yield "confusion_matrix", drawing.confusion_matrix(counts, classes, "val")
        if data.spec.is_image:
            mistakes = drawing.worst_mistakes(inputs, targets, predictions, classes)
            yield "worst_mistakes", mistakes
    elif isinstance(model.task, Regressor):
        yield "predicted_against_true", drawing.predicted_against_true(targets, predictions)
        yield "residuals", drawing.residuals(targets, predictions)
    elif isinstance(model.task, Reconstructor):
        images = drawing.reconstructions(inputs[:NUM_REBUILT], predictions[:NUM_REBUILT])
        yield "reconstructions", images
