"""MLflow's model registry: one model per data set and architecture, with a champion."""

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
        name: Name of the registered model.
        version: Version of the model.
        alias: ``champion`` or ``challenger``.
        reason: Comparison that led to the alias.
    """

    name: str
    version: str
    alias: str
    reason: str


def register(run: Run, score_name: str, mode: Literal["min", "max"]) -> Registration:
    """Registers the model of a run under ``<data>-<model>``; a run is registered only once.

    It becomes champion if there is none, or if its score on val is better than the champion's on
    the same split; else challenger. The test set plays no part in it.

    Args:
        run: Finished run with a model.
        score_name: Metric on val to compare.
        mode: Whether the metric is to be minimised or maximised.
    """
    client, stored = run.client, run.mlflow_run.data
    name = f"{stored.tags['data']}-{stored.tags['model']}"
    key = f"best/{score_name}"
    score = stored.metrics[key]
    champion = _find_alias(run, name, "champion")
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run.id}'")
    version = str((versions[0] if versions else _create_version(run, name)).version)
    alias, reason = "champion", f"val/{score_name} {score:.4f}"
    if champion is None:
        reason += ", the first of its name"
    elif str(champion.version) == version:
        reason += ", as before"
    else:
        other = client.get_run(str(champion.run_id)).data
        best = other.metrics[key]
        if other.tags["split.fingerprint"] != stored.tags["split.fingerprint"]:
            alias = "challenger"
            reason += f", on another split than version {champion.version}"
        elif score > best if mode == "max" else score < best:
            reason += f" is better than version {champion.version}'s {best:.4f}"
        else:
            alias = "challenger"
            reason += f" is not better than version {champion.version}'s {best:.4f}"
    client.set_registered_model_alias(name, alias, version)
    challenger = _find_alias(run, name, "challenger")
    if alias == "champion" and challenger is not None and str(challenger.version) == version:
        client.delete_registered_model_alias(name, "challenger")
    for tag, value in {"score": f"val/{score_name}", "value": f"{score:.6g}"}.items():
        client.set_model_version_tag(name, version, tag, value)
    return Registration(name, version, alias, reason)


def _find_alias(run: Run, name: str, alias: str) -> ModelVersion | None:
    try:
        return run.client.get_model_version_by_alias(name, alias)
    except MlflowException:
        return None


def _create_version(run: Run, name: str) -> ModelVersion:
    model = model_id(run)
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with use_tracking_uri():  # The store looks the model up through MLflow's global client.
        address = f"models:/{model}"
        return run.client.create_model_version(name, address, run_id=run.id, model_id=model)
