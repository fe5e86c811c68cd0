"""A model card: what a model is for, what it was trained on, how good it is, and its limits.

After Mitchell et al., Model Cards for Model Reporting (arXiv:1810.03993).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jinja2
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
from project.data.ratios import SPLITS
from project.data.tables.columns import describe_encoding
from project.models.base import Model
from project.models.contract import Predictor
from project.models.tasks import Classifier, Regressor
from project.reports.run import measure
from project.tracking.find import count_openings
from project.tracking.run import Run

BATCH_SIZE = 256
DATA_KEYS = ("root", "file", "target", "group_by", "time_column")
PARAMS = ("model.", "optimizer.", "scheduler.", "penalty.", "loss.", "trainer.", "seed")
TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,
)


def write_card(
    path: Path, run: Run, data: DataModule, model: Model, file: str, difference: float
) -> None:
    """Writes the card of an exported model as Markdown.

    Args:
        path: File of the card.
        run: Run that trained the model.
        data: Data of the run; the test split stays sealed.
        model: Model of the best epoch.
        file: Name of the exported model's file.
        difference: Maximum difference between the exported model and the checkpoint.
    """
    stored, spec = run.mlflow_run.data, model.spec
    text = TEMPLATE.get_template("card.md.jinja").render(
        run_id=run.id,
        tags=defaultdict(str, stored.tags),
        params={k: v for k, v in sorted(stored.params.items()) if k.startswith(PARAMS)},
        has_changes=bool(run.read_text("uncommitted.diff")),
        model=type(model).__name__,
        task=model.task.kind,
        num_weights=sum(p.numel() for p in model.parameters()),
        spec=spec,
        describe_encoding=describe_encoding,
        file=file,
        difference=difference,
        options={k: v for k, v in run.config().data.items() if k in DATA_KEYS and v},
        splits={name: (len(getattr(data.split, name)), data.fingerprints[name]) for name in SPLITS},
        fingerprint=data.fingerprint,
        duplicates=data.duplicates,
        metrics=[*_val_metrics(data, model), *_test_metrics(stored.metrics)],
        rarest=spec.classes[int(np.argmin(spec.class_counts))] if spec.classes else "",
        num_openings=count_openings(run),
        is_augmented=data.augment is not None,
    )
    path.write_text(text)


Row = tuple[str, float, float | None, float | None]  # name, value, ends of the interval


def _val_metrics(data: DataModule, model: Model) -> Iterator[Row]:
    values, predictions = measure(model, data.val_dataloader()[0], torch.device("cpu"))
    intervals = _intervals(data, model, predictions)
    for name, value in values.items():
        yield f"val/{name}", value, *intervals[name]


def _test_metrics(stored: dict[str, float]) -> Iterator[Row]:
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
    interval = bootstrap(
        samples,
        metric,
        n_resamples=500,
        paired=True,
        vectorized=False,
        confidence_level=LEVEL,
        method="percentile",
        rng=0,
    ).confidence_interval
    return float(interval.low), float(interval.high)


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
