"""What the store knows of runs, to be shown and compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from project.config.check import flatten
from project.tracking.group import PARENT
from project.tracking.run import Run
from project.tracking.store import open_store, tracking_uri


@dataclass(frozen=True)
class Listed:
    """A run in a list.

    Attributes:
        id: of the run.
        parent: name of the run that it is nested under; empty if it stands alone.
        status: ``FINISHED``, ``RUNNING``, ``KILLED`` or ``FAILED``.
        name: of the run.
        model: short name.
        data: short name.
        score_name: the metric on val that decides; empty if there is none yet.
        score: its value at the best epoch; None if there is none yet.
        seconds: that it took, or has taken until now.
        started: when.
    """

    id: str
    parent: str
    status: str
    name: str
    model: str
    data: str
    score_name: str
    score: float | None
    seconds: float
    started: datetime


def list_runs(limit: int) -> list[Listed]:
    """The latest runs, newest first.

    Args:
        limit: how many at most.
    """
    client, experiment_id = open_store()
    found = client.search_runs([experiment_id], order_by=["start_time DESC"], max_results=limit)
    names: dict[str, str] = {}
    for run in found:
        parent = run.data.tags.get(PARENT, "")
        if parent and parent not in names:
            try:
                names[parent] = client.get_run(parent).info.run_name
            except MlflowException:  # it was deleted for good
                names[parent] = parent
    return [_listed(run, names) for run in found]


def _listed(run: MlflowRun, names: Mapping[str, str]) -> Listed:
    tags, metrics = run.data.tags, run.data.metrics
    score_name = tags.get("score", "").removeprefix("val/")
    now = datetime.now(UTC).timestamp() * 1000
    return Listed(
        id=run.info.run_id,
        parent=names.get(tags.get(PARENT, ""), ""),
        status="PRUNED" if "pruned" in tags else run.info.status,
        name=run.info.run_name,
        model=tags.get("model", ""),
        data=tags.get("data", ""),
        score_name=score_name,
        score=metrics.get(f"best/{score_name}"),
        seconds=((run.info.end_time or now) - run.info.start_time) / 1000,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC).astimezone(),
    )


@dataclass(frozen=True)
class Described:
    """All of a run that can differ from another's.

    Attributes:
        config: values by flat key.
        commit: that was checked out.
        changes: diff of what was not committed.
        packages: versions by name.
        fingerprints: of the splits, by name.
        metrics: ``best/*`` and ``test/*``.
        tags: by name.
    """

    config: Mapping[str, object]
    commit: str
    changes: str
    packages: Mapping[str, str]
    fingerprints: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def describe_run(run: Run) -> Described:
    """Reads what a run has logged."""
    stored = run.mlflow_run.data
    return Described(
        config=flatten(run.stored_config()),
        commit=stored.tags.get("mlflow.source.git.commit", ""),
        changes=read_artifact(run, "uncommitted.diff"),
        packages=parse_packages(read_artifact(run, "requirements.txt")),
        fingerprints=json.loads(read_artifact(run, "split.json") or "{}").get("sha256", {}),
        metrics={k: v for k, v in stored.metrics.items() if k.startswith(("best/", "test/"))},
        tags=stored.tags,
    )


def parse_packages(text: str) -> dict[str, str]:
    """Versions by name, of lines ``name==version``; without what tells builds of one apart."""
    pairs = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version.partition("+")[0] for name, _, version in pairs}


def read_artifact(run: Run, file: str) -> str:
    """The text of an artifact; empty if the run has none of that name."""
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run.id, artifact_path=file, tracking_uri=tracking_uri()
        )
        return Path(path).read_bytes().decode()  # as it is: a diff keeps its line ends
    except (MlflowException, OSError):
        return ""
