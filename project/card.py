"""A model card: what a model is for, what it was trained on, how good it is, and its limits.

After Mitchell et al., Model Cards for Model Reporting (arXiv:1810.03993).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest, bootstrap

from project.data.module import DataModule
from project.models.base import Model, Predictor
from project.models.tasks import Classifier, Regressor
from project.report import measure
from project.scoring import Contract, Scorer
from project.tracking.run import Run
from project.types import Array


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
        "## Data": _data(data, stored.tags["data"]),
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
        if column.categories is None:
            yield f"- column {index}: `{column.name}`, a number, NaN where missing"
        else:
            shown = [f"`{name}`" if name else "missing" for name in column.categories[:20]]
            names = ", ".join(f"{code} {name}" for code, name in enumerate(shown))
            more = ", ..." if len(column.categories) > 20 else ""
            yield f"- column {index}: `{column.name}`, {names}{more}, -1 for any other"
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


def _data(data: DataModule, name: str) -> Iterator[str]:
    yield f"- `{name}`, {data.spec.task if data.spec.classes else 'values'}"
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
    name, low, high = _interval(data, model, values, predictions)
    yield "| metric | value | 95 % interval |\n| --- | --- | --- |"
    for metric, value in values.items():
        interval = f"{low:.4g} to {high:.4g}" if metric == name else ""
        yield f"| val/{metric} | {value:.4g} | {interval} |"
    for key in sorted(stored):
        if key.startswith("test/") and not key.endswith(("_low", "_high")):
            interval = ""
            if f"{key}_low" in stored:
                interval = f"{stored[f'{key}_low']:.4g} to {stored[f'{key}_high']:.4g}"
            yield f"| {key} | {stored[key]:.4g} | {interval} |"
    method = "Wilson's" if isinstance(model.task, Classifier) else "by bootstrap over samples"
    yield (
        f"\nThe interval is {method}. The epoch was chosen by val, which flatters it; test has no "
        "part in any choice."
    )


def _interval(
    data: DataModule, model: Model, values: dict[str, float], predictions: Array
) -> tuple[str, float, float]:
    """Name of a metric on val, and the ends of its 95 % interval."""
    targets = data.val.targets
    if isinstance(model.task, Classifier):
        num_right = int((predictions.argmax(axis=1) == targets).sum())
        found = binomtest(num_right, len(targets)).proportion_ci(0.95, method="wilson")
        return "accuracy", float(found.low), float(found.high)
    if isinstance(model.task, Regressor):
        errors, name = (predictions - targets) ** 2, "rmse"
    else:
        scorer = Scorer(Predictor(model).eval(), Contract.of(model))
        errors, name = scorer.predict(data.val.inputs), "loss"
    mean = bootstrap((errors,), np.mean, n_resamples=2000, method="percentile", rng=0)
    low, high = (float(end) for end in mean.confidence_interval)
    return (name, low**0.5, high**0.5) if name == "rmse" else (name, low, high)


def _intended(model: Model) -> Iterator[str]:
    what = "images" if model.spec.is_image else "rows with the same columns"
    yield f"- For {what} like those of the training data, made in the same way."
    yield "- To compare with other models on the same splits, and to learn from."


def _limits(run: Run, data: DataModule, model: Model) -> Iterator[str]:
    stored = run.mlflow_run.data
    spec = model.spec
    if spec.class_counts:
        least = min(range(len(spec.classes)), key=spec.class_counts.__getitem__)
        yield (
            f"- Of class `{spec.classes[least]}` it has seen {spec.class_counts[least]} samples in "
            "training, the fewest of all."
        )
        yield "- It knows no other classes: whatever it is shown, it names one of these."
    yield f"- The numbers above rest on {len(data.val):,} samples of val."
    openings = int(stored.tags.get("test.openings_by_all_runs", 0))
    if openings:
        yield f"- The test split has been opened {openings} times, by all runs together."
    else:
        yield "- The test split has not been opened: how good it is on fresh data is not known."
    yield "- Other cameras, sources or times were not tried; neither were attacks."


def _training(run: Run, data: DataModule) -> Iterator[str]:
    stored = run.mlflow_run
    tags = stored.data.tags
    yield f"- run `{run.id}`, best epoch {tags.get('best_epoch', '')}"
    yield f"- commit `{tags.get('mlflow.source.git.commit', '')}`"
    yield f"- command `{tags.get('mlflow.source.name', '')}`"
    wanted = ("model.", "optimizer.", "scheduler.", "penalty.", "loss.", "trainer.", "seed")
    for key, value in sorted(stored.data.params.items()):
        if key.startswith(wanted):
            yield f"- `{key}`: {value}"
    yield f"- augmentation: {'yes' if data.augment is not None else 'none'}"
