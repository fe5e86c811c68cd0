"""Figures of a model's graph and of the time it takes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from project.figures.style import COLOURS, MARK, TRAIN, VAL, clean, legend_above, new_figure

Node = tuple[str, str]  # operation, and the size of what it gives


def graphs(exported: Sequence[Node], onnx: Sequence[Node]) -> Figure:
    """Two graphs side by side, from top to bottom.

    Args:
        exported: torch.export's.
        onnx: ONNX's.
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
    for row, (name, size) in enumerate(nodes):
        axes.text(
            0.05,
            row,
            name,
            fontsize=8.5,
            va="center",
            bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": colour},
        )
        axes.text(0.98, row, size, fontsize=8, va="center", ha="right", color=MARK)
        if row:
            axes.annotate(
                "",
                (0.09, row - 0.28),
                (0.09, row - 0.72),
                arrowprops={"arrowstyle": "->", "color": MARK, "linewidth": 0.8},
            )


def times(
    by_variant: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], batches: Sequence[int]
) -> Figure:
    """Milliseconds a call, a panel for each number of images.

    Args:
        by_variant: by variant and form, for each number of images one value a seed.
        batches: numbers of images.
    """
    figure = new_figure(3.6 * len(batches), 1.2 + 0.5 * len(by_variant))
    panels = figure.subplots(1, len(batches), squeeze=False).ravel()
    forms = list(next(iter(by_variant.values())))
    for column, (axes, batch) in enumerate(zip(panels, batches, strict=True)):
        for place, by_form in enumerate(by_variant.values()):
            for offset, (form, values) in enumerate(by_form.items()):
                found = values[column]
                y = place + 0.36 * (offset - (len(forms) - 1) / 2)
                label = form if place == 0 else None
                colour = COLOURS[offset]
                axes.barh(y, np.median(found), 0.3, color=colour, alpha=0.6, label=label)
                axes.plot(found, [y] * len(found), "o", color=colour, markersize=4)
        axes.set_yticks(range(len(by_variant)), list(by_variant) if column == 0 else [])
        axes.invert_yaxis()
        axes.set_xlabel(f"ms a call of {batch} image{'s' if batch > 1 else ''}")
        clean(axes)
    legend_above(figure, panels[0])
    return figure
