"""A model card: what a model is for, what it was trained on, how good it is, and its limits.

After Mitchell et al., Model Cards for Model Reporting (arXiv:1810.03993).
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap
from sklearn.metrics import (
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from project.core.arrays import Array, Indexed
from project.core.statistics import LEVEL, proportion_interval
from project.data.module import DataModule
from project.data.tables.columns import describe_encoding
from project.models.base import Model
from project.models.contract import Predictor
from project.models.tasks import Classifier, Regressor
from project.reports.run import measure
from project.tracking.openings import count_openings
from project.tracking.run import Run

BATCH_SIZE = 256  # images reconstructed at once


def write_card(
    path: Path, run: Run, data: DataModule, model: Model, file: str, difference: float
) -> None:
    """Writes the card of an exported model as Markdown.

    Args:
        path: of the card.
        run: that trained the model.
        data: of the run; the test split stays sealed.
        model: of its best epoch.
        file: name of the exported model.
        difference: to the checkpoint.
    """
    stored = run.mlflow_run.data
    sections = {
        f"# {stored.tags['data']}-{stored.tags['model']}": _introduction(run, model),
        "## Use": _use(model, file, difference),
        "## Data": _data(run, data, model),
        "## How good it is": _metrics(run, data, model),
        "## Intended use": _intended(model),
        "## Limits": _limits(run, data, model),
        "## Training": _training(run, data),
    }
    text = "\n".join(f"{title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())
    path.write_text(text)


def _introduction(run: Run, model: Model) -> Iterator[str]:
    num_weights = sum(p.numel() for p in model.parameters())
    kind = {Classifier: "classifies", Regressor: "predicts a number from"}
    verb = kind.get(type(model.task), "reconstructs")
    what = "images" if model.spec.is_image else "rows of a table"
    yield f"`{type(model).__name__}`, a network of {num_weights:,} weights that {verb} {what}."


def _use(model: Model, file: str, difference: float) -> Iterator[str]:
    spec = model.spec
    kind = "uint8" if spec.is_image else "float32"
    sizes = " x ".join(map(str, ("N", *spec.shape)))
    yield f"- `{file}` takes {sizes} {kind}, raw: scaling is in the graph, N is free."
    if spec.is_image:
        channels = "grey" if spec.shape[2] == 1 else "RGB"
        yield f"- Images are {channels}, 0 to 255, resized to {spec.shape[0]} x {spec.shape[1]}."
    for index, column in enumerate(spec.columns):
        yield f"- column {index}: `{column.name}`, {describe_encoding(column)}"
    if isinstance(model.task, Classifier):
        names = ", ".join(f"`{name}`" for name in spec.classes[:50])
        more = ", ..." if len(spec.classes) > 50 else ""
        yield f"- It gives N x {len(spec.classes)} probabilities, of {names}{more}."
    elif isinstance(model.task, Regressor):
        yield "- It gives N values in the unit of the target."
    else:
        yield "- It gives the images as it draws them again, in [0, 1]."
    yield f"- It differs from the checkpoint by {difference:.1g} at most, on 256 samples."
    if file.endswith(".onnx"):
        yield (
            f'\n```python\nsession = onnxruntime.InferenceSession("{file}")\n'
            "(answers,) = session.run(None, {session.get_inputs()[0].name: inputs})\n```"
        )
    else:
        yield (
            f'\n```python\nnetwork = torch.export.load("{file}").module()\n'
            "answers = network(torch.from_numpy(inputs))\n```"
        )


def _data(run: Run, data: DataModule, model: Model) -> Iterator[str]:
    kinds = {Classifier: "classes", Regressor: "values"}
    kind = kinds.get(type(model.task), "images without their labels")
    yield f"- `{run.mlflow_run.data.tags['data']}`, {kind}"
    for key, value in run.config().data.items():
        if key in ("root", "file", "target", "group_by", "time_column") and value:
            yield f"- `data.{key}`: `{value}`"
    for split in ("train", "val", "test"):
        count = len(getattr(data.split, split))
        yield f"- {split}: {count:,} samples, fingerprint `{data.fingerprints[split][:16]}`"
    yield f"- fingerprint of all: `{data.fingerprint}`"
    for pair, count in data.duplicates.items():
        if count:
            first, second = pair.split("_")
            yield f"- {count} samples of {first} are in {second} too"


def _metrics(run: Run, data: DataModule, model: Model) -> Iterator[str]:
    stored = run.mlflow_run.data.metrics
    values, predictions = measure(model, data.val_dataloader()[0], torch.device("cpu"))
    intervals = _intervals(data, model, predictions)
    yield "| metric | value | 95 % interval |\n| --- | --- | --- |"
    for name, value in values.items():
        low, high = intervals[name]
        yield f"| val/{name} | {value:.4g} | {low:.4g} to {high:.4g} |"
    for key in sorted(stored):
        if key.startswith("test/") and not key.endswith(("_low", "_high")):
            interval = ""
            if f"{key}_low" in stored:
                interval = f"{stored[f'{key}_low']:.4g} to {stored[f'{key}_high']:.4g}"
            yield f"| {key} | {stored[key]:.4g} | {interval} |"
    yield (
        "\nIntervals of accuracy are Wilson's, all others by bootstrap over samples. The epoch was "
        "chosen by val, which flatters it; test has no part in any choice."
    )


def _intervals(
    data: DataModule, model: Model, predictions: Array
) -> dict[str, tuple[float, float]]:
    """Ends of the 95 % interval of each metric on val."""
    targets = data.val.targets
    if isinstance(model.task, Classifier):
        predicted = predictions.argmax(axis=1)
        num_right = int((predicted == targets).sum())
        likelihood = predictions[np.arange(len(targets)), targets]
        return {
            "accuracy": proportion_interval(num_right, len(targets)),
            "f1": _bootstrap(partial(f1_score, average="macro"), targets, predicted),
            "loss": _bootstrap(np.mean, -np.log(likelihood.clip(1e-30))),
        }
    if isinstance(model.task, Regressor):
        variance = model.spec.target_std**2
        metrics = {
            "loss": lambda t, p: mean_squared_error(t, p) / variance,
            "rmse": root_mean_squared_error,
            "mae": mean_absolute_error,
            "r2": r2_score,
        }
        return {name: _bootstrap(metric, targets, predictions) for name, metric in metrics.items()}
    squares, absolutes = _reconstruction_errors(data.val.inputs, model)
    low, high = _bootstrap(np.mean, squares)
    # The peak signal-to-noise ratio in dB falls as the squared error rises.
    psnr = (-10 * math.log10(high), -10 * math.log10(low))
    return {"loss": (low, high), "psnr": psnr, "mae": _bootstrap(np.mean, absolutes)}


def _bootstrap(metric: Callable[..., float], *samples: Array) -> tuple[float, float]:
    found = bootstrap(
        samples,
        metric,
        n_resamples=500,
        paired=True,
        vectorized=False,
        confidence_level=LEVEL,
        method="percentile",
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)


@torch.inference_mode()
def _reconstruction_errors(images: Indexed, model: Model) -> tuple[Array, Array]:
    """Mean squared and mean absolute error of each image, (N,)."""
    network = Predictor(model).eval()
    squares, absolutes = [], []
    for start in range(0, len(images), BATCH_SIZE):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH_SIZE]))
        errors = (network(part) - part.float() / 255).flatten(1)
        squares.append(errors.square().mean(dim=1).numpy())
        absolutes.append(errors.abs().mean(dim=1).numpy())
    return np.concatenate(squares), np.concatenate(absolutes)


def _intended(model: Model) -> Iterator[str]:
    what = "images" if model.spec.is_image else "rows with the same columns"
    yield f"- For {what} like those of the training data, made in the same way."
    yield "- To compare with other models on the same splits, and to learn from."


def _limits(run: Run, data: DataModule, model: Model) -> Iterator[str]:
    spec = model.spec
    if isinstance(model.task, Classifier):
        least = min(range(len(spec.classes)), key=spec.class_counts.__getitem__)
        yield (
            f"- Of class `{spec.classes[least]}` it has seen {spec.class_counts[least]} samples in "
            "training, the fewest of all."
        )
        yield "- It knows no other classes: whatever it is shown, it names one of these."
    yield f"- The numbers above rest on {len(data.val):,} samples of val."
    if openings := count_openings(run):
        yield f"- The test split has been opened {openings} times, by all runs together."
    else:
        yield "- The test split has not been opened: how good it is on fresh data is not known."
    yield "- Other cameras, sources or times were not tried; neither were attacks."


def _training(run: Run, data: DataModule) -> Iterator[str]:
    stored = run.mlflow_run
    tags = stored.data.tags
    yield f"- run `{run.id}`, best epoch {tags.get('best_epoch', '')}"
    changed = " with uncommitted changes" if run.read_text("uncommitted.diff") else ""
    yield f"- commit `{tags.get('mlflow.source.git.commit', '')}`{changed}"
    yield f"- command `{tags.get('mlflow.source.name', '')}`"
    wanted = ("model.", "optimizer.", "scheduler.", "penalty.", "loss.", "trainer.", "seed")
    for key, value in sorted(stored.data.params.items()):
        if key.startswith(wanted):
            yield f"- `{key}`: {value}"
    yield f"- augmentation: {'yes' if data.augment is not None else 'none'}"
