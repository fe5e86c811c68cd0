"""Saved models: logged, and loaded without unpickling anything."""

import warnings
from collections.abc import Callable, Mapping
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
from project.tracking.find import find_run, model_id
from project.tracking.run import Run
from project.tracking.store import open_store, tracking_uri, use_tracking_uri

CONTRACT = "contract"  # key of a saved model's metadata


def log_model(
    run: Run,
    predictor: nn.Module,
    example: Array,
    example_output: Array,
    step: int,
    contract: Mapping[str, Any],
) -> None:
    """Logs a model in the pt2 format, for any batch size, without pickled code.

    Args:
        predictor: Network in eval mode, on the CPU.
        example: Batch of at least two raw inputs; one would fix the batch size at 1.
        step: Training step of the weights; the metrics of that step become the model's.
        contract: Input and output format, stored with the model as plain values.
    """
    logged = run.client.create_logged_model(
        run.experiment_id, "model", source_run_id=run.id, params=run.mlflow_run.data.params
    )
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
                f"torch=={torch.__version__.partition('+')[0]}",
                f"numpy=={np.__version__}",
                f"mlflow=={mlflow.__version__}",
            ],
        )


def load(model: str) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Loads the network of a run or of the registry, and the contract that it was saved with.

    Raises:
        UserError: No model matches, or another program has saved it.
    """
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
