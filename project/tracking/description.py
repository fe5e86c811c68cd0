"""The descriptions of runs and registered models that MLflow shows, as Markdown."""

import json

from mlflow.entities import Run

from project.core.statistics import proportion_interval
from project.tracking.labels import NOTE, PARENT

# Otherwise the UI would open these pages in its mode for language models.
MODE = "?workflowType=machine_learning"
MAX_LENGTH = 5000  # characters of a registered version's description


def describe_run(stored: Run) -> str:
    """Result, trivial baseline, data, and commands of a run that trains a model."""
    tags, run_id = stored.data.tags, stored.info.run_id
    sizes = _sizes(stored)
    counts = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    split = tags["split.fingerprint"][:12]
    parts = [
        tags.get(NOTE, ""),
        _result(stored, sizes.get("val", 0)),
        _trivial(stored),
        f"{tags['model']} on {tags['data']}, {counts or 'sizes unknown'} (split {split}), "
        f"seed {stored.data.params.get('seed', 'unknown')}",
        f"Repeat it: `make reproduce RUN={run_id}`",
        command(stored),
        _links(stored),
    ]
    return _join(parts)


def describe_parent(stored: Run, result: str, *run_ids: str) -> str:
    """The result of a sweep or a comparison, its command, and links to runs of the experiment."""
    links = [f"run {_link(stored, run_id)}" for run_id in run_ids]
    return _join([stored.data.tags.get(NOTE, ""), result, command(stored), *links])


def command(stored: Run) -> str:
    """The command line that has begun a run."""
    line = stored.data.tags.get("mlflow.source.name", "").replace("`", "'")
    return f"Begun by `{line}`" if line else ""


def link_to(stored: Run) -> str:
    """A link to the page of a run."""
    return f"run {_link(stored, stored.info.run_id)}"


def _join(parts: list[str]) -> str:
    return "\n\n".join(filter(None, parts))[:MAX_LENGTH]


def _result(stored: Run, num_val: int) -> str:
    tags, metrics = stored.data.tags, stored.data.metrics
    name = tags.get("score", "").removeprefix("val/")
    score = metrics.get(f"best/{name}")
    if score is None:
        return f"No result: {tags.get('failure', tags.get('pruned', 'it was stopped'))}"
    interval = ""
    if name == "accuracy" and num_val:
        low, high = proportion_interval(round(score * num_val), num_val)
        interval = f" (95 % Wilson interval {low:.4f} to {high:.4f}, from {num_val:,} samples)"
    return f"**val/{name} {score:.4f}**{interval} at epoch {tags.get('best_epoch', 'unknown')}"


def _trivial(stored: Run) -> str:
    """How a run compares with a model that ignores its input, if that was measured."""
    tags, metrics = stored.data.tags, stored.data.metrics
    name = tags.get("score", "").removeprefix("val/")
    baseline, low, high = (
        metrics.get(f"trivial/{key}") for key in (name, "difference_low", "difference_high")
    )
    if baseline is None:
        return ""
    interval = "" if low is None else f" (95 % interval of the difference {low:.4f} to {high:.4f})"
    return f"Trivial model: {name} {baseline:.4f}; this one is {tags.get('trivial', '')}{interval}"


def _sizes(stored: Run) -> dict[str, int]:
    """Number of samples by split, as far as they were logged."""
    sizes = {}
    for each in stored.inputs.dataset_inputs if stored.inputs else ():
        shape = json.loads(each.dataset.profile or "{}").get("features_shape")
        for tag in each.tags if isinstance(shape, list) else ():
            sizes[tag.value] = int(shape[0])
    return sizes


def _links(stored: Run) -> str:
    links = []
    if parent := stored.data.tags.get(PARENT):
        links.append(f"parent {_link(stored, parent)}")
    for each in stored.outputs.model_outputs if stored.outputs else ():
        page = f"#/experiments/{stored.info.experiment_id}/models/{each.model_id}{MODE}"
        links.append(f"[model {each.model_id[:10]}]({page})")
    return ", ".join(links)


def _link(stored: Run, run_id: str) -> str:
    return f"[{run_id[:10]}](#/experiments/{stored.info.experiment_id}/runs/{run_id}{MODE})"
