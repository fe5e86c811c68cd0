"""MLflow's model registry: one model per data set and architecture, with a champion."""

from dataclasses import dataclass
from typing import Literal

from mlflow.exceptions import MlflowException

from project.tracking.find import model_id
from project.tracking.run import Run
from project.tracking.store import use_tracking_uri


@dataclass(frozen=True)
class Registration:
    """A run's model in the registry, and why it is ``champion`` or ``challenger``."""

    name: str
    version: str
    alias: str
    reason: str


def register(run: Run, score_name: str, mode: Literal["min", "max"]) -> Registration:
    """Registers the model of a finished run under ``<data>-<model>``, and each run only once.

    It becomes champion if there is none, or if its score on val is better than the champion's on
    the same split; else challenger. The test set plays no part in it.
    """
    client, stored = run.client, run.mlflow_run.data
    name = f"{stored.tags['data']}-{stored.tags['model']}"
    key = f"best/{score_name}"
    score = stored.metrics[key]
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run.id}'")
    version = str(versions[0].version) if versions else _create_version(run, name)
    aliases = client.get_registered_model(name).aliases
    champion, challenger = (str(aliases.get(each, "")) for each in ("champion", "challenger"))
    alias, reason = "champion", f"val/{score_name} {score:.4f}"
    if not champion:
        reason += ", the first of its name"
    elif champion == version:
        reason += ", as before"
    else:
        other = client.get_run(str(client.get_model_version(name, champion).run_id)).data
        best = other.metrics[key]
        if other.tags["split.fingerprint"] != stored.tags["split.fingerprint"]:
            alias = "challenger"
            reason += f", on another split than version {champion}"
        elif score > best if mode == "max" else score < best:
            reason += f" is better than version {champion}'s {best:.4f}"
        else:
            alias = "challenger"
            reason += f" is not better than version {champion}'s {best:.4f}"
    client.set_registered_model_alias(name, alias, version)
    if alias == "champion" and challenger == version:
        client.delete_registered_model_alias(name, "challenger")
    client.set_model_version_tag(name, version, "score", f"val/{score_name}")
    client.set_model_version_tag(name, version, "value", f"{score:.6g}")
    return Registration(name, version, alias, reason)


def _create_version(run: Run, name: str) -> str:
    model = model_id(run)
    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with use_tracking_uri():  # The store looks the model up through MLflow's global client.
        address = f"models:/{model}"
        created = run.client.create_model_version(name, address, run_id=run.id, model_id=model)
    return str(created.version)
