"""A model card: what a model is for, what it was trained on, how good it is, and its limits.

After Mitchell et al., Model Cards for Model Reporting (arXiv:1810.03993).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jinja2
import numpy as np
import torch
from scipy.stats import bootstrap
from sklearn import metrics

from project.core.arrays import Array
from project.core.statistics import LEVEL, proportion_interval
from project.data.module import DataModule
from project.data.ratios import SPLITS
from project.data.tables.columns import describe_encoding
from project.models.base import Model
from project.models.tasks import Classifier, Regressor
from project.reports.run import measure
from project.tracking.find import count_openings
from project.tracking.run import Run

DATA_KEYS = ("root", "file", "target", "group_by", "time_column")
PARAMS = ("model.", "optimizer.", "scheduler.", "penalty.", "loss.", "trainer.", "seed")
TEMPLATE = jinja2.Template(
    Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)


def write_card(
    path: Path, run: Run, data: DataModule, model: Model, file: str, difference: float
) -> None:
    """Writes the card of an exported model as Markdown; the test split stays sealed.

    ``difference`` is the largest between the model in ``file`` and the checkpoint.
    """
    stored, spec = run.mlflow_run.data, model.spec
    text = TEMPLATE.render(
        run=run,
        data=data,
        model=model,
        spec=spec,
        file=file,
        difference=difference,
        tags=defaultdict(str, stored.tags),
        params={k: v for k, v in sorted(stored.params.items()) if k.startswith(PARAMS)},
        has_changes=bool(run.read_text("uncommitted.diff")),
        num_weights=sum(p.numel() for p in model.parameters()),
        describe_encoding=describe_encoding,
        options={k: v for k, v in run.config().data.items() if k in DATA_KEYS and v},
        sizes={name: len(getattr(data.split, name)) for name in SPLITS},
        metrics=list(_metrics(data, model, stored.metrics)),
        rarest=spec.classes[int(np.argmin(spec.class_counts))] if spec.classes else "",
        num_openings=count_openings(run),
    )
    path.write_text(text)


def _metrics(
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
            "f1": _bootstrap(partial(metrics.f1_score, average="macro"), targets, predicted),
            "loss": _bootstrap(np.mean, -np.log(likelihood.clip(1e-30))),
        }
    if isinstance(model.task, Regressor):
        variance = model.spec.target_std**2
        measures = {
            "loss": lambda t, p: metrics.mean_squared_error(t, p) / variance,
            "rmse": metrics.root_mean_squared_error,
            "mae": metrics.mean_absolute_error,
            "r2": metrics.r2_score,
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
