"""Writes a finished run's model for use elsewhere: one file that takes raw inputs, and its card.

Usage: python -m project.serving.export run=RUN [format=onnx|pt2] [output=FOLDER]

  run     a run id, last, or a name of the registry such as models:/digits-cnn@champion
  output  by default mlruns/exports/<data>-<model>-<run>/<format>/

Scaling and encoding are in the graph, the number of inputs is free, and what it gives is checked
against the checkpoint on 256 samples. A model card is beside it; both are kept with the run.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Literal

from project.cli.command import run_command
from project.core.errors import TrainingError, UserError, nearest
from project.core.signals import stoppable

if TYPE_CHECKING:
    import torch

    from project.core.arrays import Array
    from project.data.module import DataModule
    from project.models.base import Model

FORMATS = ("onnx", "pt2")
NUM_CHECKED = 256
TOLERANCE = 1e-4  # of probabilities, of pixels in [0, 1], of values over the targets' deviation


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: that holds the model, ``contract.json`` and ``card.md``.
        path: of the model.
        difference: the greatest from the checkpoint, in the unit of ``TOLERANCE``.
    """

    folder: Path
    path: Path
    difference: float


def export(
    run_id: str, format: Literal["onnx", "pt2"] = "onnx", output: str | None = None
) -> Exported:
    """Exports the best checkpoint of a run, checks the result and writes its card.

    Args:
        run_id: of a finished run, ``last``, or ``models:/name@champion``.
        format: ONNX, or PyTorch's own.
        output: folder; None is one in the store.

    Raises:
        UserError: there is no such run, or it has no checkpoint.
        TrainingError: the graph gives something else than the checkpoint; nothing was written.
    """
    import torch

    from project.evaluate import load_finished
    from project.models.contract import Contract
    from project.reports.card import write_card
    from project.tracking.find import find_model_run
    from project.tracking.store import store_folder

    with stoppable(), tempfile.TemporaryDirectory() as temporary:
        run, data, model, _ = load_finished(find_model_run(run_id).id)
        model.cpu()
        tags = run.mlflow_run.data.tags
        name = f"{tags['data']}-{tags['model']}"
        path = Path(temporary) / f"{name}.{format}"
        samples = _samples(data)
        program = to_program(model, samples[:2])
        if format == "onnx":
            write_onnx(program, path)
            call = onnx_session(path)
        else:
            torch.export.save(program, path)
            module = torch.export.load(path).module()
            call = _numpy_call(module)
        difference = _check(model, call, samples)
        contract = Contract.of(model).to_plain()
        text = json.dumps(contract, indent=2, ensure_ascii=False)
        (Path(temporary) / "contract.json").write_text(text)
        write_card(Path(temporary) / "card.md", run, data, model, path.name, difference)
        folder = Path(output or store_folder() / "exports" / f"{name}-{run.id[:8]}" / format)
        try:
            copytree(temporary, folder, dirs_exist_ok=True)
        except OSError as error:
            raise UserError(f"output: {folder}: {error}: expected a folder to write") from None
        run.log_files(Path(temporary), f"export/{format}")
    return Exported(folder, folder / path.name, difference)


def to_program(model: "Model", example: "Array") -> "torch.export.ExportedProgram":
    """The graph of a model and its scaling, for any number of raw inputs.

    Args:
        model: on the CPU.
        example: two raw inputs or more; one would freeze the number.
    """
    import torch

    from project.models.contract import Predictor

    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(
        Predictor(model).eval(), (torch.from_numpy(example),), dynamic_shapes=shapes
    )


def write_onnx(program: "torch.export.ExportedProgram", path: Path) -> None:
    """Writes a graph as one ONNX file."""
    import torch

    _require_onnx()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own inside
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(program, (), str(path), dynamo=True, external_data=False, verbose=False)


def onnx_session(path: Path, num_threads: int = 0) -> "Callable[[Array], Array]":
    """Opens an ONNX file on the CPU.

    Args:
        path: of it.
        num_threads: that it may take; 0 lets onnxruntime choose.

    Returns:
        A function from raw inputs (B, ...) to predictions.
    """
    import numpy as np

    _require_onnx()
    import onnxruntime  # type: ignore[import-untyped]

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())

    def call(inputs: "Array") -> "Array":
        return np.asarray(session.run(None, {name: inputs})[0])

    return call


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'format: onnx: {error.name} is missing: expected pip install -e ".[onnx]"'
        ) from None


def _numpy_call(module: "torch.nn.Module") -> "Callable[[Array], Array]":
    import torch

    @torch.inference_mode()
    def call(inputs: "Array") -> "Array":
        found: Array = module(torch.from_numpy(inputs)).numpy()
        return found

    return call


def _samples(data: "DataModule") -> "Array":
    """256 raw inputs, of val and then train; fewer are repeated."""
    import numpy as np

    parts = [part.inputs[:NUM_CHECKED] for part in (data.val, data.train)]
    inputs = np.concatenate(parts)[:NUM_CHECKED]
    return np.ascontiguousarray(np.resize(inputs, (NUM_CHECKED, *inputs.shape[1:])))


def _check(model: "Model", call: "Callable[[Array], Array]", samples: "Array") -> float:
    """The greatest difference to the checkpoint, in batches of several sizes.

    Raises:
        TrainingError: it is too large.
    """
    import numpy as np

    from project.models.contract import Predictor

    expected = _numpy_call(Predictor(model).eval())(samples)
    # As one batch, alone, and in uneven parts: the number of inputs is really free.
    bounds = (0, 1, 4, NUM_CHECKED // 2, NUM_CHECKED)
    parts = [call(samples[a:b]) for a, b in pairwise(bounds)]
    found = np.stack([call(samples), np.concatenate(parts)])
    difference = float(np.abs(found - expected).max() / model.spec.target_std)
    if not difference <= TOLERANCE:
        raise TrainingError(
            f"the exported graph differs from the checkpoint by {difference:.2g}: expected at most "
            f"{TOLERANCE:g}; nothing was written"
        )
    return difference


def main(arguments: Sequence[str]) -> None:
    """Exports by the arguments of a command line."""
    given = {"run": "", "format": "onnx", "output": ""}
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in given:
            raise UserError(f"{argument}: unknown key: {nearest(key, given)}")
        given[key] = value
    if not given["run"]:
        raise UserError("run: missing: expected run=<run id>, last or models:/<name>@champion")
    if given["format"] not in FORMATS:
        raise UserError(f"format: {given['format']}: expected one of {', '.join(FORMATS)}")
    exported = export(given["run"], given["format"], given["output"] or None)  # type: ignore[arg-type]
    print(
        f"{exported.path}\n"
        f"  takes raw inputs in any number; differs from the checkpoint by at most "
        f"{exported.difference:.1g} on {NUM_CHECKED} samples\n"
        f"{exported.folder / 'card.md'}\n  says what it was trained on, how good it is and for what"
    )


if __name__ == "__main__":
    run_command(main, __doc__)
