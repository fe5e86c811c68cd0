"""Saved models: logged, and loaded without unpickling anything."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import mlflow
import mlflow.pytorch  # at the top: its import resets the level of Lightning's logger
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from project.core.arrays import Array
from project.core.errors import UserError
from project.tracking.find import find_run, model_id
from project.tracking.run import Run
from project.tracking.store import open_store, set_variable, tracking_uri, use_tracking_uri

CONTRACT = "contract"  # key of a saved model's metadata
NO_PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"  # pickled files could run code


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
        run: Run that has trained the model.
        predictor: Network in eval mode, on the CPU.
        example: Batch of at least two raw inputs; one would fix the batch size at 1.
        example_output: Predictions of the example.
        step: Training step of the weights; the metrics of that step become the model's.
        contract: Input and output format, stored with the model as plain values.
    """
    signature = ModelSignature(
        Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
        Schema([TensorSpec(example_output.dtype, (-1, *example_output.shape[1:]))]),
    )
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
            signature=signature,
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
    """Loads a saved model.

    Args:
        model: Run id, its first letters, ``last``, or a registered model such as
            ``models:/name@champion`` or ``models:/name/3``.

    Returns:
        The network, and the contract that it was saved with.

    Raises:
        UserError: No model matches, or another program has saved it.
    """
    address = model if model.startswith("models:/") else f"models:/{model_id(find_run(model))}"
    open_store()
    try:
        with use_tracking_uri():
            folder = mlflow.artifacts.download_artifacts(address, tracking_uri=tracking_uri())
            metadata = Model.load(folder).metadata or {}
            if CONTRACT not in metadata:
                reason = "it was saved without its input format"
                raise UserError(f"run: {model}: {reason}: expected a model of this project")
            with warnings.catch_warnings(), set_variable(NO_PICKLE, "false"):
                warnings.simplefilter("ignore")
                network = mlflow.pytorch.load_model(folder)
    except (MlflowException, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"run: {model}: can't be loaded ({reason}): expected a run id, last, or "
            "models:/<name>@champion"
        ) from None
    return network, metadata[CONTRACT]
