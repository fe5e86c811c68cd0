"""MLflow's model registry: one model a data set and architecture, with a champion."""

from dataclasses import dataclass
from typing import Literal

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from project.tracking.find import model_id
from project.tracking.run import Run
from project.tracking.store import use_tracking_uri


@dataclass(frozen=True)
class Registration:
    """A run's model in the registry.

    Attributes:
        name: of the registered model.
        version: of it.
        alias: ``champion`` or ``challenger``.
        reason: why it is that.
    """

    name: str
    version: str
    alias: str
    reason: str


def register(run: Run, score_name: str, mode: Literal["min", "max"]) -> Registration:
    """Registers the model of a run under ``<data>-<model>``.

    It becomes champion if there is none, or if its score on val beats that of the present champion
    on the same split; else challenger. The test set has no say in it. A run is registered once.

    Args:
        run: finished, with a model.
        score_name: that decides.
        mode: whether it is to be large or small.
    """
    tags = run.mlflow_run.data.tags
    name = f"{tags['data']}-{tags['model']}"
    client = run.client
    present = _find_alias(run, name, "champion")
    version = _find_version(run, name) or _create_version(run, name)
    key = f"best/{score_name}"
    score = run.mlflow_run.data.metrics[key]
    text = f"val/{score_name} {score:.4f}"
    if present is None:
        alias, reason = "champion", f"{text}, the first of its name"
    elif present.version == version.version:
        alias, reason = "champion", f"{text}, as before"
    else:
        other = client.get_run(str(present.run_id)).data
        other_score = other.metrics[key]
        better = score > other_score if mode == "max" else score < other_score
        than = f"version {present.version}'s {other_score:.4f}"
        if other.tags["split.fingerprint"] != tags["split.fingerprint"]:
            alias = "challenger"
            reason = f"{text}, on another split than version {present.version}"
        elif better:
            alias, reason = "champion", f"{text} beats {than}"
        else:
            alias, reason = "challenger", f"{text} does not beat {than}"
    client.set_registered_model_alias(name, alias, version.version)
    if alias == "champion":  # it may have been the challenger before
        challenger = _find_alias(run, name, "challenger")
        if challenger is not None and challenger.version == version.version:
            client.delete_registered_model_alias(name, "challenger")
    for tag, value in {"score": f"val/{score_name}", "value": f"{score:.6g}"}.items():
        client.set_model_version_tag(name, version.version, tag, value)
    return Registration(name, str(version.version), alias, reason)


def _find_alias(run: Run, name: str, alias: str) -> ModelVersion | None:
    try:
        return run.client.get_model_version_by_alias(name, alias)
    except MlflowException:
        return None


def _find_version(run: Run, name: str) -> ModelVersion | None:
    found = run.client.search_model_versions(f"name = '{name}' and run_id = '{run.id}'")
    return found[0] if found else None


def _create_version(run: Run, name: str) -> ModelVersion:
    model = model_id(run)
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with use_tracking_uri():  # the store looks the model up through MLflow's global client
        return run.client.create_model_version(
            name, f"models:/{model}", run_id=run.id, model_id=model
        )
