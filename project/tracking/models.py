"""Saved models: found by run or by name in the registry, and loaded without unpickling anything."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from torch import Tensor

from project.core.errors import UserError
from project.tracking.run import CONTRACT, Run, find_run, use_tracking_uri
from project.tracking.store import open_store, tracking_uri


def load(model: str) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Loads a saved model.

    Args:
        model: a run id, ``last``, or a name of the registry: ``models:/name@champion`` or
            ``models:/name/3``.

    Returns:
        The network, and the contract that it was saved with.

    Raises:
        UserError: there is no such model, or it wasn't saved by this project.
    """
    address = model if model.startswith("models:/") else f"models:/{model_id(model)}"
    open_store()
    try:
        with use_tracking_uri():
            folder = mlflow.artifacts.download_artifacts(address, tracking_uri=tracking_uri())
            metadata = Model.load(folder).metadata or {}
            if CONTRACT not in metadata:
                raise UserError(
                    f"run: {model}: it was saved without what predicting needs: expected a model "
                    "of this version of `make train`"
                )
            with warnings.catch_warnings(), _refuse_pickle():
                warnings.simplefilter("ignore")
                network = mlflow.pytorch.load_model(str(Path(folder)))
    except (MlflowException, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"run: {model}: can't be loaded ({reason}): expected a run id, last, or "
            "models:/<name>@champion"
        ) from None
    return network, metadata[CONTRACT]


def run_of(model: str) -> Run:
    """The run that trained a model.

    Args:
        model: a run id, ``last``, or a name of the registry.

    Raises:
        UserError: there is no such run or model.
    """
    if not model.startswith("models:/"):
        return find_run(model)
    client, _ = open_store()
    name, _, version = model.removeprefix("models:/").rpartition("/")
    aliased, _, alias = model.removeprefix("models:/").rpartition("@")
    try:
        if aliased:
            found = client.get_model_version_by_alias(aliased, alias)
        elif version == "latest":
            versions = client.search_model_versions(f"name='{name}'")
            found = max(versions, key=lambda each: int(each.version))
        else:
            found = client.get_model_version(name, version)
    except (MlflowException, ValueError):
        raise UserError(
            f"run: {model}: there is no such model: expected models:/<name>@champion"
        ) from None
    return find_run(str(found.run_id))


def model_id(run_id: str) -> str:
    """The id of the model that a run has saved.

    Raises:
        UserError: there is no such run, or it has saved none.
    """
    run = find_run(run_id)
    outputs = run.mlflow_run.outputs
    if outputs is None or not outputs.model_outputs:
        status = run.mlflow_run.info.status
        raise UserError(
            f"run: {run.id}: it has saved no model, it is {status}: expected a finished run of "
            "`make train`, or the winner of a sweep"
        )
    return str(outputs.model_outputs[-1].model_id)


@contextmanager
def _refuse_pickle() -> Iterator[None]:
    """Makes MLflow refuse files that could run code when they are loaded."""
    variable = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
    previous = os.environ.get(variable)
    os.environ[variable] = "false"
    try:
        yield
    finally:
        if previous is None:
            del os.environ[variable]
        else:
            os.environ[variable] = previous
