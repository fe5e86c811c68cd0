"""Figures of a model's graph and of its run time."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from project.figures.style import COLOURS, MARK, TRAIN, VAL, clean, legend_above, new_figure, panels

Node = tuple[str, str]  # operation and size of its output


def graphs(exported: Sequence[Node], onnx: Sequence[Node]) -> Figure:
    """Two graphs side by side, from top to bottom.

    Args:
        exported: Nodes of torch.export's graph.
        onnx: Nodes of ONNX's graph.
    """
    rows = max(len(exported), len(onnx))
    figure = new_figure(8.4, 0.36 * rows + 0.8)
    left, right = figure.subplots(1, 2)
    _list(left, exported, rows, TRAIN, f"torch.export: {len(exported)} operations")
    _list(right, onnx, rows, VAL, f"ONNX: {len(onnx)} nodes")
    return figure


def _list(axes: Axes, nodes: Sequence[Node], rows: int, colour: str, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlim(0, 1)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.axis("off")
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": colour}
    arrow = {"arrowstyle": "->", "color": MARK, "linewidth": 0.8}
    for row, (name, size) in enumerate(nodes):
        axes.text(0.05, row, name, fontsize=8.5, va="center", bbox=box)
        axes.text(0.98, row, size, fontsize=8, va="center", ha="right", color=MARK)
        if row:
            axes.annotate("", (0.09, row - 0.28), (0.09, row - 0.72), arrowprops=arrow)


def times(
    by_variant: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], batches: Sequence[int]
) -> Figure:
    """Milliseconds per call, one panel per batch size.

    Args:
        by_variant: One value per seed for each batch size, by variant and form of the model.
        batches: Batch sizes.
    """
    size = (3.6, 0.8 + 0.5 * len(by_variant))
    figure, cells = panels(len(batches), len(batches), size)
    for column, (axes, batch) in enumerate(zip(cells, batches, strict=True)):
        for place, by_form in enumerate(by_variant.values()):
            for offset, (form, values) in enumerate(by_form.items()):
                y = place + 0.36 * (offset - (len(by_form) - 1) / 2)
                label, colour = form if place == 0 else None, COLOURS[offset]
                axes.barh(y, np.median(values[column]), 0.3, color=colour, alpha=0.6, label=label)
                axes.plot(values[column], [y] * len(values[column]), "o", color=colour, ms=4)
        axes.set_yticks(range(len(by_variant)), list(by_variant) if column == 0 else [])
        axes.invert_yaxis()
        axes.set_xlabel(f"ms per call, batch size {batch}")
        clean(axes)
    legend_above(figure, cells[0])
    return figure
