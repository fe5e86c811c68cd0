"""Prepared views of the MLflow UI: which runs an experiment's page lists, and in which columns."""

import json
from collections import Counter
from collections.abc import Iterator

from project.core.scores import mode_of
from project.tracking.find import search_runs
from project.tracking.labels import PARENT
from project.tracking.store import KINDS, experiment_name, open_store

IS_PARENT = f"tags.`{PARENT}` IS NULL"  # Trials, retrained seeds and variants are nested.
MAX_READ = 1000  # latest runs that decide about the columns
# Without the description, which MLflow would put before the scores, beyond the edge of a window.
COLUMNS = ("tags.`model`", "tags.`data`", "params.`seed`")
PAGE = "/#/experiments/{id}/runs?workflowType=machine_learning&viewStateShareKey={key}"


def prepare_views() -> Iterator[tuple[str, str]]:
    """Stores the views in MLflow; yields the title and the page of each, that of runs first."""
    client, training = open_store()
    queries = {"runs": "tags.`split.fingerprint` != ''", "sweeps": "tags.`sweep.study` != ''"}
    views = [(key, training, f"{IS_PARENT} and {query}") for key, query in queries.items()]
    for kind in KINDS[1:]:
        experiment = client.get_experiment_by_name(experiment_name(kind))
        if experiment is not None and experiment.lifecycle_stage == "active":
            views.append((kind, experiment.experiment_id, IS_PARENT))
    for key, experiment_id, query in views:
        runs = search_runs(query, [experiment_id], MAX_READ)
        if runs or key == "runs":
            # A sweep's own metric is the best score of its trials.
            names = Counter(
                name
                for run in runs
                for name in run.data.metrics
                if name == run.data.tags.get("score", "").replace("val/", "best/")
                or (key == "sweeps" and name.startswith("best/"))
            )
            state = json.dumps(_state(query, [name for name, _ in names.most_common(2)]))
            client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{key}", state)
            yield key, PAGE.format(id=experiment_id, key=key)


def _state(query: str, scores: list[str]) -> dict[str, object]:
    """The state of a page: the most frequent score sorts it, the best run first."""
    losses = ["best/loss"] if scores and "best/loss" not in scores else []
    columns = [f"metrics.`{name}`" for name in [*scores, *losses]]
    state = {"selectedColumns": [*columns, *COLUMNS], "searchFilter": query}
    if not scores:
        return {**state, "orderByKey": "attributes.`Created`", "orderByAsc": False}
    is_minimised = mode_of(scores[0].removeprefix("best/")) == "min"
    return {**state, "orderByKey": columns[0], "orderByAsc": is_minimised}
