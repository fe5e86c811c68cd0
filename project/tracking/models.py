"""Saved models: logged, loaded without unpickling anything, and registered."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from torch import Tensor, nn

from project.core.arrays import Array
from project.core.errors import UserError, first_line
from project.core.scores import mode_of
from project.tracking.description import MAX_LENGTH, describe_run, link_to
from project.tracking.find import find_run, model_id
from project.tracking.run import Run
from project.tracking.store import open_store, tracking_uri, use_tracking_uri

CONTRACT = "contract"  # key of a saved model's metadata


def log_model(
    run: Run,
    predictor: nn.Module,  # in eval mode, on the CPU
    example: Array,  # at least two raw inputs; one would fix the batch size at 1
    example_output: Array,
    step: int,  # of the weights; the metrics of that step become the model's
    contract: Mapping[str, Any],  # input and output format, as plain values
) -> None:
    """Logs a model in the pt2 format, for any batch size, without pickled code."""
    params = run.mlflow_run.data.params
    logged = run.client.create_logged_model(run.experiment_id, "model", run.id, params=params)
    with use_tracking_uri(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Model.log(
            None,
            model_id=logged.model_id,
            flavor=mlflow.pytorch,
            run_id=run.id,
            step=step,
            pytorch_model=predictor,
            signature=infer_signature(example, example_output),
            input_example=example,
            serialization_format="pt2",
            metadata={CONTRACT: dict(contract)},
            validate_serving_input=False,  # It would load the model once more.
            pip_requirements=[
                f"{each.__name__}=={each.__version__.partition('+')[0]}"
                for each in (torch, np, mlflow)
            ],
        )


def load(model: str) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Loads a network and its contract; ``UserError`` if no model of this project matches."""
    address = model if model.startswith("models:/") else f"models:/{model_id(find_run(model))}"
    open_store()
    try:
        safely = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}  # A pickled file could run code.
        with use_tracking_uri(**safely), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = mlflow.artifacts.download_artifacts(address, tracking_uri=tracking_uri())
            metadata = Model.load(folder).metadata or {}
            if CONTRACT not in metadata:
                fault = "it was saved without its input format: expected a model of this project"
                raise UserError(f"run: {model}: {fault}")
            return mlflow.pytorch.load_model(folder), metadata[CONTRACT]
    except (MlflowException, OSError) as error:
        fault, remedy = f"can't be loaded ({first_line(error)})", "models:/<name>@champion"
        raise UserError(f"run: {model}: {fault}: expected a run id, last, or {remedy}") from None


@dataclass(frozen=True)
class Registration:
    """A run's model in the registry, and why it is ``champion`` or ``challenger``."""

    name: str
    version: str
    alias: str
    reason: str


def register(run: Run, score_name: str) -> Registration:
    """Registers the model of a finished run as ``<data>-<model>``, and each run only once.

    It becomes champion if there is none, or if its score on val is better than the champion's on
    the same split; else challenger. The test set plays no part in it.
    """
    client, stored = run.client, run.mlflow_run.data
    name, key = f"{stored.tags['data']}-{stored.tags['model']}", f"best/{score_name}"
    score = stored.metrics[key]
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run.id}'")
    version = str(versions[0].version) if versions else _create_version(run, name)
    aliases = client.get_registered_model(name).aliases
    champion, challenger = (str(aliases.get(each, "")) for each in ("champion", "challenger"))
    alias, reason = "champion", ", the first of its name"
    if champion == version:
        reason = ", as before"
    elif champion:
        other = client.get_run(str(client.get_model_version(name, champion).run_id)).data
        best = other.metrics[key]
        is_better = score > best if mode_of(score_name) == "max" else score < best
        reason = f" is {'' if is_better else 'not '}better than version {champion}'s {best:.4f}"
        if other.tags["split.fingerprint"] != stored.tags["split.fingerprint"]:
            is_better, reason = False, f", on another split than version {champion}"
        alias = "champion" if is_better else "challenger"
    client.set_registered_model_alias(name, alias, version)
    if alias == "champion" and challenger == version:
        client.delete_registered_model_alias(name, "challenger")
    client.set_model_version_tag(name, version, "score", f"val/{score_name}")
    client.set_model_version_tag(name, version, "value", f"{score:.6g}")
    description = f"{link_to(run.mlflow_run)}\n\n{describe_run(run.mlflow_run)}"[:MAX_LENGTH]
    client.update_model_version(name, version, description)
    return Registration(name, version, alias, f"val/{score_name} {score:.4f}{reason}")


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
