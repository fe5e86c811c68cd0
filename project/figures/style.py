"""Colours, fonts and building blocks of all figures."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import MaxNLocator

from project.core.arrays import Array

Values = Array | Sequence[float]

TRAIN, VAL, MARK = "#0072b2", "#d55e00", "#555555"  # Okabe and Ito: safe for colour-blind readers

# The same palette, extended for as many variants as one figure can hold.
COLOURS = (TRAIN, VAL, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", MARK, "#882255", "#999933")

# Fonts with the Chinese, Japanese and Korean letters that Matplotlib's default font lacks.
CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
)
rcParams["font.family"] += sorted({*CJK_FONTS} & {*get_font_names()}, key=CJK_FONTS.index)
warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)


def as_label(text: str, length: int = 24) -> str:
    """A user's name as a label: at most so many letters, on one line, not parsed as a formula."""
    short = text if len(text) <= length else f"{text[: length - 1]}…"
    return " ".join(short.split()).replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, with automatic layout; it needs no display."""
    return Figure(figsize=(width, height), layout="constrained")


def clean(axes: Axes) -> None:
    """Removes the upper and right border and adds a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def panel(width: float, height: float, **settings: Any) -> tuple[Figure, Axes]:
    """A figure of one panel, with settings of ``Axes.set`` such as ``xlabel``; size in inches."""
    figure, (axes,) = panels(1, 1, (width, height), 0.0)
    axes.set(**settings)
    return figure, axes


def panels(
    count: int, columns: int, size: tuple[float, float], margin: float = 0.4, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of panels, row by row; unused places in the last row stay empty.

    Args:
        columns: Maximum number of panels in a row.
        size: Width and height of a panel, inches.
        margin: Height to add for a legend or title, inches.
        options: Options of ``Figure.subplots``, such as ``sharex``.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(max(4.0, size[0] * columns), size[1] * rows + margin)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for each in axes.flat:
        clean(each)
    for unused in axes.flat[count:]:
        unused.axis("off")
    return figure, axes.ravel().tolist()[:count]


def grid(
    num_cells: int, columns: int, cell: float = 1.25, title: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure of square cells for images, row by row, without ticks and borders."""
    figure, cells = panels(num_cells, columns, (cell, cell), 0.5)
    for axes in cells:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure, cells


def show_image(axes: Axes, image: Array, title: str = "", colour: str = "black") -> None:
    """Draws an image (H, W, C), uint8 or in [0, 1], into a cell of a grid."""
    top = 255 if image.dtype == np.uint8 else 1
    axes.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=top)
    axes.set_title(title, fontsize=8, color=colour)


def image_rows(
    labels: Sequence[str],
    rows: Sequence[Sequence[Array] | Array],
    titles: Mapping[int, Sequence[str]] = MappingProxyType({}),
    cell: float = 1.25,
    title: str = "",
) -> Figure:
    """Rows of images (H, W, C), each with a label; ``titles`` are those of a row's images."""
    columns = max(map(len, rows))
    figure, cells = grid(len(rows) * columns, columns, cell, title)
    for row, (label, images) in enumerate(zip(labels, rows, strict=True)):
        in_row = cells[row * columns : (row + 1) * columns]
        in_row[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
        names = [*titles.get(row, ()), *[""] * columns]
        for axes, image, name in zip(in_row, images, names, strict=False):
            show_image(axes, image, name)
    return figure


def label_epochs(axes: Axes, num_epochs: int) -> None:
    """Makes the x axis one of whole epochs, from 1."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if num_epochs == 1:
        axes.set_xlim(0.5, 1.5)


def set_log_scale(axes: Axes, axis: str, parts: Sequence[Values], spread: float) -> bool:
    """Makes an axis logarithmic if its values are positive and spread by more than a factor."""
    values = np.concatenate([np.ravel(part) for part in parts])
    values = values[np.isfinite(values)]
    is_log = bool(len(values) and values.min() > 0 and values.max() > spread * values.min())
    if is_log:
        axes.set(**{f"{axis}scale": "log"})
    return is_log


def bands(
    axes: Axes, curves: Mapping[str, Sequence[tuple[Values, Values]]], marker: str = ""
) -> None:
    """Draws x and y of each seed, by name: the mean as a line, and the range as a band.

    Lines end where the shortest curve does: beyond it the mean would be of fewer seeds.
    """
    for colour, (name, seeds) in zip(cycle(COLOURS), curves.items(), strict=False):
        if seeds:
            x = min((x for x, _ in seeds), key=len)
            y = np.array([y[: len(x)] for _, y in seeds])
            dot = marker or ("o" if len(x) == 1 else "")
            axes.plot(x, y.mean(0), dot + "-", color=colour, label=as_label(name, 40))
            if len(y) > 1:
                axes.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.15, linewidth=0)


def legend_above(figure: Figure, axes: Axes, most: int = 5) -> None:
    """Adds a legend of one panel's lines above all panels, in at most so many columns."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    fitting = int(figure.get_figwidth() / (0.5 + 0.085 * longest))  # 0.5 inch for a line sample
    columns = max(1, min(most, len(labels), fitting))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
