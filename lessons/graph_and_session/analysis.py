"""A trained model exported as a graph, and run without the code that it came from."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.utils.benchmark import Timer

from lessons import robustness
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.core.errors import UserError
from project.figures.style import COLOURS, MARK, TRAIN, VAL, panels
from project.models.contract import Predictor
from project.reports.robustness import classifies_images
from project.serving.export import onnx_session, to_program, write_onnx

try:
    import onnx
except ImportError:
    raise UserError(
        'lesson: graph_and_session: onnx is missing: run pip install -e ".[onnx]"'
    ) from None

BATCHES = (1, 256)
FORMS = ("eager", "session")
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
Node = tuple[str, str]  # operation and shape of its output


@dataclass(frozen=True)
class Graphs:
    """A model as a module, as torch.export's graph, and as ONNX's graph in a session."""

    eager: torch.nn.Module
    exported: torch.export.ExportedProgram
    model: onnx.ModelProto
    run_session: Callable[[Array], Array]

    @torch.inference_mode()
    def run_eager(self, images: Array) -> Array:
        """Probabilities (B, classes) of raw images (B, H, W, C), by eager PyTorch."""
        return np.asarray(self.eager(torch.from_numpy(images)).numpy())

    def run_alone(self, images: Array) -> Array:
        """The same in a process that has only the ONNX file and onnxruntime."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            onnx.save(self.model, folder / "model.onnx")
            np.save(folder / "images.npy", images)
            subprocess.run([sys.executable, "-I", "-c", ALONE], cwd=folder, check=True)
            return np.asarray(np.load(folder / "outputs.npy"))


def export(trained: Trained) -> Graphs:
    """Exports the model of the best epoch, for any batch size."""
    exported = to_program(trained.model, trained.data.val.inputs[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(exported, path)
        session = onnx_session(path, num_threads=1)
        return Graphs(Predictor(trained.model).eval(), exported, onnx.load(path), session)


_exported: dict[str, Graphs] = {}  # by run id, because an export takes seconds


def _graphs(trained: Trained) -> Graphs:
    if trained.run.id not in _exported:
        _exported[trained.run.id] = export(trained)
    return _exported[trained.run.id]


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
        eager, session = (
            Timer("run(inputs)", globals={"run": run, "inputs": inputs}, num_threads=1)
            .blocked_autorange(min_run_time=SECONDS)
            .median
            for run in (graphs.run_eager, graphs.run_session)
        )
        measured[f"eager/ms_batch_{batch}"] = 1000 * eager
        measured[f"session/ms_batch_{batch}"] = 1000 * session
        measured[f"session/log2_speedup_batch_{batch}"] = float(np.log2(eager / session))
    return measured


def figures(runs: Runs) -> Iterator[Drawn]:
    """The graph of each variant, node by node, and the run times."""
    for variant, (trained, *_) in runs.items():
        graphs = _graphs(trained)
        yield (
            f"graph_{variant}",
            draw_graphs(_operations(graphs.exported), _nodes(graphs.model)),
            f"{variant}: operations of torch.export's graph and nodes of ONNX's, in the order in "
            "which they run, with the shapes of their outputs; s is the batch size.",
        )
    times = {
        f"ms per call, batch size {batch}": {
            f"{variant}, {form}": [each.metrics[f"{form}/ms_batch_{batch}"] for each in of_variant]
            for variant, of_variant in runs.items()
            for form in FORMS
        }
        for batch in BATCHES
    }
    yield "times", draw_times(times)


def _operations(exported: torch.export.ExportedProgram) -> list[Node]:
    """The operations of torch.export's graph."""
    return [
        (str(node.target).removesuffix(".default"), _size(node.meta["val"].shape))
        for node in exported.graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor)
    ]


def _nodes(model: onnx.ModelProto) -> list[Node]:
    """The nodes of ONNX's graph."""
    known = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: _size(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*known.value_info, *known.output)
    }
    return [(node.op_type, sizes.get(node.output[0], "")) for node in model.graph.node]


def _size(shape: Iterable[object]) -> str:
    return " x ".join(str(d) if str(d).isdigit() else "s" for d in shape)


def draw_graphs(exported: Sequence[Node], nodes: Sequence[Node]) -> Figure:
    """The graphs of torch.export and of ONNX side by side, from top to bottom."""
    rows = max(len(exported), len(nodes))
    figure, cells = panels(2, 2, (4.2, 0.36 * rows + 0.8), 0.0)
    arrow = {"arrowstyle": "->", "color": MARK, "linewidth": 0.8}
    for axes, graph, colour, title in zip(
        cells,
        (exported, nodes),
        (TRAIN, VAL),
        (f"torch.export: {len(exported)} operations", f"ONNX: {len(nodes)} nodes"),
        strict=True,
    ):
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(0, 1), ylim=(rows - 0.4, -0.6))
        axes.axis("off")
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": colour}
        for row, (name, size) in enumerate(graph):
            axes.text(0.05, row, name, fontsize=8.5, va="center", bbox=box)
            axes.text(0.98, row, size, fontsize=8, va="center", ha="right", color=MARK)
            if row:
                axes.annotate("", (0.09, row - 0.28), (0.09, row - 0.72), arrowprops=arrow)
    return figure


def draw_times(times: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Values over seeds, by panel and row: one dot per seed, and a bar up to the median."""
    num_rows = len(next(iter(times.values())))
    figure, cells = panels(len(times), len(times), (3.6, 0.8 + 0.3 * num_rows), 0.0, sharey=True)
    for axes, (title, rows) in zip(cells, times.items(), strict=True):
        for place, values in enumerate(rows.values()):
            colour = COLOURS[place % len(FORMS)]
            axes.barh(place, np.median(values), color=colour, alpha=0.6)
            axes.plot(values, [place] * len(values), "o", color=colour, markersize=4)
        axes.set_yticks(range(num_rows), list(rows))
        axes.set(xlabel=title, ylim=(num_rows - 0.5, -0.5))
    return figure


ANALYSIS = Analysis(
    (
        "graph/onnx_nodes",
        "graph/export_nodes",
        "graph/onnx_difference",
        "graph/export_difference",
        *(f"{form}/ms_batch_{batch}" for form in FORMS for batch in BATCHES),
        *(f"session/log2_speedup_batch_{batch}" for batch in BATCHES),
    ),
    measure,
    figures,
    classifies_images,
    robustness.NEEDS,
)
