"""Exports a trained model as one file that takes raw inputs, with a model card beside it."""

import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from shutil import copytree
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from project.core.arrays import Array
from project.core.errors import TrainingError, UserError
from project.core.types import ModelId
from project.evaluate import load_finished
from project.models.base import Model
from project.models.contract import Contract, Predictor
from project.reports.run import write_card
from project.tracking.find import find_model_run
from project.tracking.store import store_folder

NUM_CHECKED = 256  # samples on which the graph is compared with the checkpoint
TOLERANCE = 1e-4  # largest difference from the checkpoint, in the unit of ``_check``


@dataclass(frozen=True)
class Exported:
    """An exported model, in a folder with its contract and card; the run keeps a copy."""

    folder: Path
    path: Path
    difference: float  # largest one from the checkpoint's predictions, see ``_check``


def export(
    run: ModelId, format: Literal["onnx", "pt2"] = "onnx", output: str | None = None
) -> Exported:
    """Exports the best checkpoint of a run, checks the result and writes a model card.

    Preprocessing is part of the graph, and the batch size is free.

    Args:
        run: Run that trained the model, or a registered model such as models:/digits-cnn@champion.
        format: ONNX, or PyTorch's own export format.
        output: Folder to write; null writes to mlruns/exports/.
    """
    if format == "onnx":
        require_onnx()
    trained, data, model, _ = load_finished(find_model_run(run).id)
    model.cpu()
    tags = trained.mlflow_run.data.tags
    name = f"{tags['data']}-{tags['model']}"
    folder = Path(output or store_folder() / "exports" / f"{name}-{trained.id[:8]}" / format)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"{name}.{format}"
        inputs = np.concatenate([part.inputs[:NUM_CHECKED] for part in (data.val, data.train)])
        samples = np.resize(inputs, (NUM_CHECKED, *inputs.shape[1:]))  # repeated if too few
        program = to_program(model, samples[:2])
        if format == "onnx":
            write_onnx(program, path)
            call = onnx_session(path)
        else:
            torch.export.save(program, path)
            call = partial(_call, torch.export.load(path).module())
        difference = _check(model, call, samples)
        contract = Contract.of(model).model_dump_json(indent=2)
        path.with_name("contract.json").write_text(contract, encoding="utf-8")
        write_card(path, trained, data, model, difference)
        try:
            copytree(temporary, folder, dirs_exist_ok=True)
        except OSError as error:
            raise UserError(f"output: {folder}: {error}: expected a writable folder") from None
        trained.client.log_artifacts(trained.id, temporary, f"export/{format}")
    return Exported(folder, folder / path.name, difference)


def show(result: Exported) -> None:
    """Prints the files, and how close the graph is to the checkpoint."""
    print(
        f"{result.path}\n"
        f"  takes raw inputs in batches of any size; predictions differ from the checkpoint's by "
        f"at most {result.difference:.1g} on {NUM_CHECKED} samples\n"
        f"{result.folder / 'card.md'}\n"
        "  describes training data, metrics, intended use and limits"
    )


def to_program(model: Model, example: Array) -> torch.export.ExportedProgram:
    """Traces a model and its preprocessing by two or more raw inputs, for any batch size."""
    network, inputs = Predictor(model).eval(), torch.from_numpy(example)
    return torch.export.export(network, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes a graph as one ONNX file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter warns about its own internals.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(program, (), str(path), dynamo=True, external_data=False, verbose=False)


def onnx_session(path: Path, num_threads: int = 0) -> Callable[[Array], Array]:
    """A function from raw inputs (B, ...) to predictions; 0 threads let onnxruntime choose."""
    runtime = require_onnx()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = num_threads
    session = runtime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return lambda inputs: np.asarray(session.run(None, {name: inputs})[0])


def require_onnx() -> Any:
    """Imports the optional ONNX packages and returns ``onnxruntime``."""
    try:
        *_, onnxruntime = map(import_module, ("onnx", "onnxscript", "onnxruntime"))
    except ImportError as error:
        missing = f'{error.name} is missing: expected pip install -e ".[onnx]"'
        raise UserError(f"format: onnx: {missing}") from None
    return onnxruntime


@torch.inference_mode()
def _call(module: nn.Module, inputs: Array) -> Array:
    return np.asarray(module(torch.from_numpy(inputs)).numpy())


def _check(model: Model, call: Callable[[Array], Array], samples: Array) -> float:
    """The largest difference from the checkpoint's predictions, in batches of several sizes.

    The unit is probabilities, pixels in [0, 1], or standard deviations of the training targets.
    """
    expected = _call(Predictor(model).eval(), samples)
    # One whole batch, one input alone, and uneven parts show that the batch size is free.
    bounds = (0, 1, 4, NUM_CHECKED // 2, NUM_CHECKED)
    parts = np.concatenate([call(samples[a:b]) for a, b in pairwise(bounds)])
    differences = np.abs(np.stack([call(samples), parts]) - expected)
    difference = float(differences.max() / model.spec.target_std)
    if not difference <= TOLERANCE:
        reason = f"the exported graph differs from the checkpoint by {difference:.2g}"
        raise TrainingError(f"{reason}: expected at most {TOLERANCE:g}; nothing was written")
    return difference
