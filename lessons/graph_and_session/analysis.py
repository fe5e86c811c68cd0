"""A trained model as a graph, run without the code it came from."""

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
from lessons.graph_and_session import figures as drawing
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.core.errors import UserError
from project.models.contract import Predictor
from project.reports.robustness import classifies_images
from project.serving.export import onnx_session, to_program, write_onnx

try:
    import onnx
except ImportError:
    raise UserError(
        'lesson: graph_and_session: onnx is missing: expected pip install -e ".[onnx]"'
    ) from None

BATCHES = (1, 256)
SECONDS = 0.3  # of repeated calls, for a median
# What a stranger does with the file: no code of this project, and no PyTorch.
ALONE = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(answers,) = session.run(None, {session.get_inputs()[0].name: numpy.load("images.npy")})
assert not {"project", "torch"} & set(sys.modules)
numpy.save("answers.npy", answers)
"""


@dataclass(frozen=True)
class Graphs:
    """A model in three forms.

    Attributes:
        eager: the code itself.
        exported: torch.export's graph.
        model: ONNX's graph.
        content: of the ONNX file.
        run_session: probabilities (B, classes) of raw images (B, H, W, C), by onnxruntime.
    """

    eager: torch.nn.Module
    exported: torch.export.ExportedProgram
    model: onnx.ModelProto
    content: bytes
    run_session: Callable[[Array], Array]

    @torch.inference_mode()
    def run_eager(self, images: Array) -> Array:
        """See ``run_session``."""
        return np.asarray(self.eager(torch.from_numpy(images)).numpy())

    def run_alone(self, images: Array) -> Array:
        """See ``run_session``; in a process of its own that has the file and onnxruntime."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.onnx").write_bytes(self.content)
            np.save(Path(folder) / "images.npy", images)
            subprocess.run([sys.executable, "-I", "-c", ALONE], cwd=folder, check=True)
            return np.asarray(np.load(Path(folder) / "answers.npy"))


def export(trained: Trained) -> Graphs:
    """Exports the best epoch's model, for any number of images."""
    eager = Predictor(trained.model).eval()
    exported = to_program(trained.model, trained.data.val.inputs[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(exported, path)
        content = path.read_bytes()
        session = onnx_session(path, num_threads=1)
        return Graphs(eager, exported, onnx.load_from_string(content), content, session)


def measure(trained: Trained) -> dict[str, float]:
    """Sizes of the graphs, differences to eager, and milliseconds a call."""
    graphs = _graphs(trained)
    images = trained.data.val.inputs[: BATCHES[-1]]
    expected = graphs.run_eager(images)
    with torch.inference_mode():
        again = graphs.exported.module()(torch.from_numpy(images)).numpy()
    found = {
        "graph/onnx_nodes": float(len(graphs.model.graph.node)),
        "graph/export_nodes": float(len(_operations(graphs.exported))),
        "graph/onnx_difference": float(np.abs(graphs.run_alone(images) - expected).max()),
        "graph/export_difference": float(np.abs(again - expected).max()),
    }
    for batch in BATCHES:
        # A small validation set is repeated.
        inputs = np.resize(images, (batch, *images.shape[1:]))
        eager = _milliseconds(partial(graphs.run_eager, inputs))
        session = _milliseconds(partial(graphs.run_session, inputs))
        found[f"eager/ms_batch_{batch}"] = eager
        found[f"session/ms_batch_{batch}"] = session
        found[f"session/log2_speedup_batch_{batch}"] = float(np.log2(eager / session))
    return found


def figures(runs: Runs) -> Iterator[Drawn]:
    """Each variant's graph, node by node, and the times."""
    for variant, of_variant in runs.items():
        if of_variant:
            graphs = _graphs(of_variant[0])
            yield (
                f"graph_{variant}",
                drawing.graphs(_operations(graphs.exported), _nodes(graphs.model)),
                f"{variant}: the operations in torch.export's graph and in ONNX's, in the order in "
                "which they run, with the size of what each gives; s is the number of images.",
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
        if of_variant
    }
    yield (
        "times",
        drawing.times(times, BATCHES),
        "Milliseconds a call, one thread: eager PyTorch and a session of onnxruntime; a dot a "
        "seed.",
    )


_exported: dict[str, Graphs] = {}


def _graphs(trained: Trained) -> Graphs:
    """Exported once a run and process."""
    if trained.run.id not in _exported:
        _exported[trained.run.id] = export(trained)
    return _exported[trained.run.id]


def _operations(exported: torch.export.ExportedProgram) -> list[tuple[str, str]]:
    """Name and size of each operation of torch.export's graph."""
    return [
        (str(node.target).removesuffix(".default"), _size(node.meta["val"].shape))
        for node in exported.graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor)
    ]


def _nodes(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Name and size of each node of ONNX's graph."""
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
