"""A trained model exported as a graph, and run without the code that it came from."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.benchmark import Timer

from lessons import robustness
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.core.errors import UserError
from project.models.contract import Predictor
from project.reports.robustness import classifies_images
from project.serving.export import onnx_session, to_program, write_onnx

from . import figures as drawing

try:
    import onnx
except ImportError:
    raise UserError(
        'lesson: graph_and_session: onnx is missing: run pip install -e ".[onnx]"'
    ) from None

BATCHES = (1, 256)
SECONDS = 0.3  # duration of the repeated calls whose median is taken
# Runs the file as another program would: without PyTorch and the code of this project.
ALONE = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(outputs,) = session.run(None, {session.get_inputs()[0].name: numpy.load("images.npy")})
assert not {"project", "torch"} & set(sys.modules)
numpy.save("outputs.npy", outputs)
"""


@dataclass(frozen=True)
class Graphs:
    """A model in three forms.

    Attributes:
        eager: Module of the project's own code.
        exported: Graph of torch.export.
        model: Graph of ONNX.
        content: Content of the ONNX file.
        run_session: Probabilities (B, classes) of raw images (B, H, W, C), by onnxruntime.
    """

    eager: torch.nn.Module
    exported: torch.export.ExportedProgram
    model: onnx.ModelProto
    content: bytes
    run_session: Callable[[Array], Array]

    @torch.inference_mode()
    def run_eager(self, images: Array) -> Array:
        """Probabilities (B, classes) of raw images (B, H, W, C), by eager PyTorch."""
        return np.asarray(self.eager(torch.from_numpy(images)).numpy())

    def run_alone(self, images: Array) -> Array:
        """The same in a process that has only the ONNX file and onnxruntime."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.onnx").write_bytes(self.content)
            np.save(Path(folder) / "images.npy", images)
            subprocess.run([sys.executable, "-I", "-c", ALONE], cwd=folder, check=True)
            return np.asarray(np.load(Path(folder) / "outputs.npy"))


def export(trained: Trained) -> Graphs:
    """Exports the model of the best epoch, for any batch size."""
    eager = Predictor(trained.model).eval()
    exported = to_program(trained.model, trained.data.val.inputs[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(exported, path)
        content = path.read_bytes()
        session = onnx_session(path, num_threads=1)
        return Graphs(eager, exported, onnx.load_from_string(content), content, session)


def measure(trained: Trained) -> dict[str, float]:
    """Sizes of the graphs, differences from eager, and milliseconds per call."""
    graphs = _graphs(trained)
    images = trained.data.val.inputs[: BATCHES[-1]]
    expected = graphs.run_eager(images)
    with torch.inference_mode():
        again = graphs.exported.module()(torch.from_numpy(images)).numpy()
    measured = {
        "graph/onnx_nodes": float(len(graphs.model.graph.node)),
        "graph/export_nodes": float(len(_operations(graphs.exported))),
        "graph/onnx_difference": float(np.abs(graphs.run_alone(images) - expected).max()),
        "graph/export_difference": float(np.abs(again - expected).max()),
    }
    for batch in BATCHES:
        # Repeats a validation set that is smaller than a batch.
        inputs = np.resize(images, (batch, *images.shape[1:]))
        eager = _milliseconds(partial(graphs.run_eager, inputs))
        session = _milliseconds(partial(graphs.run_session, inputs))
        measured[f"eager/ms_batch_{batch}"] = eager
        measured[f"session/ms_batch_{batch}"] = session
        measured[f"session/log2_speedup_batch_{batch}"] = float(np.log2(eager / session))
    return measured


def figures(runs: Runs) -> Iterator[Drawn]:
    """The graph of each variant, node by node, and the run times."""
    for variant, (trained, *_) in runs.items():
        graphs = _graphs(trained)
        yield (
            f"graph_{variant}",
            drawing.graphs(_operations(graphs.exported), _nodes(graphs.model)),
            f"{variant}: operations of torch.export's graph and nodes of ONNX's, in the order in "
            "which they run, with the shapes of their outputs; s is the batch size.",
        )
    times = {
        variant: {
            form: [
                [trained.metrics[f"{form}/ms_batch_{batch}"] for trained in of_variant]
                for batch in BATCHES
            ]
            for form in ("eager", "session")
        }
        for variant, of_variant in runs.items()
    }
    yield (
        "times",
        drawing.times(times, BATCHES),
        "Milliseconds per call on one thread, for eager PyTorch and a session of onnxruntime: one "
        "dot per seed, the bar is the median.",
    )


_exported: dict[str, Graphs] = {}  # by run id, because an export takes seconds


def _graphs(trained: Trained) -> Graphs:
    if trained.run.id not in _exported:
        _exported[trained.run.id] = export(trained)
    return _exported[trained.run.id]


def _operations(exported: torch.export.ExportedProgram) -> list[tuple[str, str]]:
    """Name and output shape of each operation of torch.export's graph."""
    return [
        (str(node.target).removesuffix(".default"), _size(node.meta["val"].shape))
        for node in exported.graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor)
    ]


def _nodes(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Name and output shape of each node of ONNX's graph."""
    known = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: _size([d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in (*known.value_info, *known.output)
    }
    return [(node.op_type, sizes.get(node.output[0], "")) for node in model.graph.node]


def _size(shape: object) -> str:
    assert isinstance(shape, (list, torch.Size))
    return " x ".join(str(d) if str(d).isdigit() else "s" for d in shape)


def _milliseconds(call: Callable[[], object]) -> float:
    timer = Timer("call()", globals={"call": call}, num_threads=1)
    return float(timer.blocked_autorange(min_run_time=SECONDS).median * 1000)


ANALYSIS = Analysis(
    (
        "graph/onnx_nodes",
        "graph/export_nodes",
        "graph/onnx_difference",
        "graph/export_difference",
        *(f"{form}/ms_batch_{batch}" for form in ("eager", "session") for batch in BATCHES),
        *(f"session/log2_speedup_batch_{batch}" for batch in BATCHES),
    ),
    measure,
    figures,
    classifies_images,
    robustness.NEEDS,
)
