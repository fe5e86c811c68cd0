"""What a run leaves behind when its training is over: the best model, its numbers and figures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from project.config.build import build_model
from project.config.check import Config
from project.core.arrays import Array
from project.core.types import Spec
from project.data.module import Batch, DataModule
from project.figures import classification, reconstruction, regression, training
from project.models.base import Model
from project.models.contract import Contract, Predictor
from project.models.tasks import Classifier, Reconstructor, Regressor, SplitMetrics
from project.reports.data import look, to_json
from project.tracking.run import Run, data_name
from project.training.devices import Devices

NUM_SHOWN = 8
NUM_REBUILT = 10
MAX_HASHED = 10_000  # images up to which a run looks for near-duplicates: some tenths of a second


@dataclass(frozen=True)
class Best:
    """The best epoch of a run.

    Attributes:
        epoch: from 1.
        step: the last of that epoch.
        num_epochs: that were trained.
        score_name: the metric on val that decides.
        score: its value.
        metrics: all of val.
    """

    epoch: int
    step: int
    num_epochs: int
    score_name: str
    score: float
    metrics: dict[str, float]


def report(run: Run, config: Config, data: DataModule, devices: Devices, best: Best) -> None:
    """Logs the model of the best epoch and the figures."""
    model = load_best(run, config, data.spec)
    _, predictions = measure(model, data.val_dataloader()[0], devices.torch_device)
    run.log_figures(_figures(run, model, data, predictions, best))
    run.log_text(to_json(look(data, data_name(config.data), MAX_HASHED)), "data.json")
    # Exported on the CPU: a pt2 model can't be moved to another device.
    num_examples = min(2, len(data.val))
    example = data.val.inputs[:num_examples]
    contract = Contract.of(model).to_plain()
    run.log_model(Predictor(model.cpu()), example, predictions[:num_examples], best.step, contract)


def load_best(run: Run, config: Config, spec: Spec) -> Model:
    """The model of the best epoch, in eval mode on the CPU; of the average weights if there are."""
    architecture = dict(config.model)
    if "weights" in architecture:  # those of the checkpoint replace them
        architecture["weights"] = "none"
    model = build_model(config.model_copy(update={"model": architecture}), spec)
    checkpoint = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def log_best(run: Run, model: Model) -> Best:
    """Finds the epoch of the best checkpoint, and logs what was measured on val in it.

    Args:
        run: that has been trained.
        model: of that run, for the names of its metrics; its weights don't matter.
    """
    best = find_best(run, model)
    run.log_metrics({f"best/{name}": value for name, value in best.metrics.items()}, best.step)
    run.set_tags({"best_epoch": best.epoch, "score": f"val/{best.score_name}"})
    return best


def find_best(run: Run, model: Model) -> Best:
    """The epoch of the best checkpoint, and what was measured on val in it."""
    steps, scores = run.history(f"val/{model.task.score}")
    checkpoint = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    position = int(checkpoint["epoch"])  # from 0
    metrics = {
        str(name): float(run.history(f"val/{name}")[1][position])
        for name in ("loss", *model.val_metrics.metrics.keys())
    }
    return Best(
        epoch=position + 1,
        step=int(steps[position]),
        num_epochs=len(scores),
        score_name=model.task.score,
        score=float(scores[position]),
        metrics=metrics,
    )


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
        evaluation.update(model.task.loss(outputs, inputs, targets), predictions, reference)
        if not isinstance(model.task, Reconstructor) or sum(map(len, parts)) < NUM_REBUILT:
            parts.append(predictions.cpu().numpy())
    metrics = {name: value.item() for name, value in evaluation.compute().items()}
    return metrics, np.concatenate(parts)


def _figures(
    run: Run, model: Model, data: DataModule, predictions: Array, best: Best
) -> Iterator[tuple[str, Figure]]:
    # The loss of train as val measures it: what train/loss_epoch says includes dropout.
    val_loss = run.history("val/loss")[1]
    curves = {"loss": (val_loss - run.history("gap/loss")[1], val_loss)}
    if best.score_name != "loss":
        name = best.score_name
        curves[name] = (run.history(f"train/{name}")[1], run.history(f"val/{name}")[1])
    yield "learning_curves", training.learning_curves(curves, best.epoch)
    if data.augment is not None:
        shown = slice(0, NUM_SHOWN)
        before, indices = data.train.inputs[shown], data.train.indices[shown]
        after = [data.augment(before, epoch, indices) for epoch in range(3)]
        labels = [
            data.spec.classes[int(target)] if data.spec.classes else f"{target:g}"
            for target in data.train.targets[shown]
        ]
        yield "augmentation", training.augmentation_sheet(before, after, labels)
    inputs, targets = data.val.inputs, data.val.targets
    if isinstance(model.task, Classifier):
        classes = data.spec.classes
        counts = confusion_matrix(targets, predictions.argmax(1), labels=range(len(classes)))
        yield "confusion_matrix", classification.confusion_matrix(counts, classes, "val")
        if data.spec.is_image:
            yield (
                "worst_mistakes",
                classification.worst_mistakes(inputs, targets, predictions, classes),
            )
    elif isinstance(model.task, Regressor):
        yield "predicted_against_true", regression.predicted_against_true(targets, predictions)
        yield "residuals", regression.residuals(targets, predictions)
    elif isinstance(model.task, Reconstructor):
        yield (
            "reconstructions",
            reconstruction.reconstructions(inputs[:NUM_REBUILT], predictions[:NUM_REBUILT]),
        )
