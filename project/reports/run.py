"""Report of a finished run: its best model, metrics, figures, data report and model card."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import jinja2
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import bootstrap
from sklearn import metrics as scores

from project.config.build import build_model
from project.config.check import Config
from project.core.arrays import Array
from project.core.statistics import LEVEL, proportion_interval
from project.core.types import Spec
from project.data.images.similar import MAX_HASHED_PER_RUN
from project.data.module import DataModule
from project.data.ratios import SPLITS
from project.data.samples import Batch
from project.data.tables.columns import describe_encoding
from project.figures import predictions as drawing
from project.figures import training
from project.models.base import Model
from project.models.contract import Contract, Predictor
from project.models.tasks import Classifier, Reconstructor, Regressor, SplitMetrics
from project.reports.data import draw_augmented, summarise_data
from project.tracking.find import count_openings
from project.tracking.models import log_model
from project.tracking.run import Run
from project.training.devices import Devices
from project.training.results import FitResult

DATA_KEYS = ("root", "file", "target", "group_by", "time_column")
PARAMS = ("model.", "optimizer.", "scheduler.", "penalty.", "loss.", "trainer.", "seed")
CARD = jinja2.Template(
    Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)
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
    contract = Contract.of(model).model_dump(mode="json")
    log_model(run, predictor, data.val.inputs[:2], predictions[:2], result.best_step, contract)


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
    if (name := result.score_name) != "loss":
        curves[name] = (history[f"train/{name}"], history[f"val/{name}"])
    yield "learning_curves", training.learning_curves(curves, result.best_epoch)
    if data.augment is not None:
        yield "augmentation", draw_augmented(data, np.arange(min(NUM_AUGMENTED, len(data.train))))
    inputs, targets = data.val.inputs, data.val.targets
    if isinstance(model.task, Classifier):
        classes = data.spec.classes
        counts = scores.confusion_matrix(targets, predictions.argmax(1), labels=range(len(classes)))
        yield "confusion_matrix", drawing.confusion_matrix(counts, classes, "val")
        if data.spec.is_image:
            yield "worst_mistakes", drawing.worst_mistakes(inputs, targets, predictions, classes)
    elif isinstance(model.task, Regressor):
        yield "predicted_against_true", drawing.predicted_against_true(targets, predictions)
        yield "residuals", drawing.residuals(targets, predictions)
    elif isinstance(model.task, Reconstructor):
        images = drawing.reconstructions(inputs[:NUM_REBUILT], predictions[:NUM_REBUILT])
        yield "reconstructions", images


def write_card(path: Path, run: Run, data: DataModule, model: Model, difference: float) -> None:
    """Writes the model card ``card.md`` beside an exported model; the test split stays sealed.

    After Mitchell et al., Model Cards for Model Reporting (arXiv:1810.03993).
    ``difference`` is the largest difference between the exported model and the checkpoint.
    """
    stored, spec = run.mlflow_run.data, model.spec
    text = CARD.render(
        run=run,
        data=data,
        model=model,
        spec=spec,
        file=path.name,
        difference=difference,
        tags=defaultdict(str, stored.tags),
        params={k: v for k, v in sorted(stored.params.items()) if k.startswith(PARAMS)},
        has_changes=bool(run.read_text("uncommitted.diff")),
        num_weights=sum(p.numel() for p in model.parameters()),
        describe_encoding=describe_encoding,
        options={k: v for k, v in run.config().data.items() if k in DATA_KEYS and v},
        sizes={name: len(getattr(data.split, name)) for name in SPLITS},
        metrics=list(_metrics_with_intervals(data, model, stored.metrics)),
        rarest=spec.classes[int(np.argmin(spec.class_counts))] if spec.classes else "",
        num_openings=count_openings(run),
    )
    path.with_name("card.md").write_text(text)


def _metrics_with_intervals(
    data: DataModule, model: Model, stored: dict[str, float]
) -> Iterator[tuple[str, float, float | None, float | None]]:
    """Name, value and ends of the interval of each metric on val, and on test if it was opened."""
    values, predictions = measure(model, data.val_dataloader()[0], torch.device("cpu"))
    intervals = _intervals(data, model, predictions)
    for name, value in values.items():
        yield f"val/{name}", value, *intervals[name]
    for key in sorted(stored):
        if key.startswith("test/") and not key.endswith(("_low", "_high")):
            yield key, stored[key], stored.get(f"{key}_low"), stored.get(f"{key}_high")


def _intervals(
    data: DataModule, model: Model, predictions: Array
) -> dict[str, tuple[float, float]]:
    """Ends of the 95 % interval of each metric on val."""
    targets = data.val.targets
    if isinstance(model.task, Classifier):
        predicted = predictions.argmax(axis=1)
        likelihood = predictions[np.arange(len(targets)), targets]
        return {
            "accuracy": proportion_interval(int((predicted == targets).sum()), len(targets)),
            "f1": _bootstrap(partial(scores.f1_score, average="macro"), targets, predicted),
            "loss": _bootstrap(np.mean, -np.log(likelihood.clip(1e-30))),
        }
    if isinstance(model.task, Regressor):
        variance = model.spec.target_std**2
        measures = {
            "loss": lambda t, p: scores.mean_squared_error(t, p) / variance,
            "rmse": scores.root_mean_squared_error,
            "mae": scores.mean_absolute_error,
            "r2": scores.r2_score,
        }
        return {name: _bootstrap(each, targets, predictions) for name, each in measures.items()}
    squares, absolutes = _reconstruction_errors(data, model)
    return {
        "loss": _bootstrap(np.mean, squares),
        "psnr": _bootstrap(lambda errors: -10 * np.log10(np.mean(errors)), squares),
        "mae": _bootstrap(np.mean, absolutes),
    }


def _bootstrap(metric: Callable[..., float], *samples: Array) -> tuple[float, float]:
    options = {"paired": True, "vectorized": False, "method": "percentile", "rng": 0}
    result = bootstrap(samples, metric, n_resamples=500, confidence_level=LEVEL, **options)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@torch.inference_mode()
def _reconstruction_errors(data: DataModule, model: Model) -> tuple[Array, Array]:
    """Mean squared and mean absolute error of each validation image, (N,)."""
    squares, absolutes = [], []
    for images, labels in data.val_dataloader()[0]:
        outputs = model.task.predict(model(images))
        errors = (outputs - model.task.reference(images, labels)).flatten(1)
        squares.append(errors.square().mean(dim=1))
        absolutes.append(errors.abs().mean(dim=1))
    return torch.cat(squares).numpy(), torch.cat(absolutes).numpy()
