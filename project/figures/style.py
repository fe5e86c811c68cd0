"""Colours, fonts and building blocks of all figures."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names

from project.core.arrays import Array

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
    """A user's name as a label: shortened, on one line, and not parsed as a formula.

    Args:
        text: Name of a class, column or variant.
        length: Maximum number of letters.
    """
    short = text if len(text) <= length else f"{text[: length - 1]}…"
    return " ".join(short.split()).replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, with automatic layout; it needs no display."""
    with rc_context({"font.size": 10}):
        return Figure(figsize=(width, height), layout="constrained")


def clean(axes: Axes) -> None:
    """Removes the upper and right border and adds a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def show_image(axes: Axes, image: Array, title: str = "", colour: str = "black") -> None:
    """Draws an image (H, W, C), uint8 or in [0, 1], without ticks and border."""
    is_grey = image.shape[2] == 1
    top = 255 if image.dtype == np.uint8 else 1
    axes.imshow(image[..., 0] if is_grey else image, cmap="gray", vmin=0, vmax=top)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=8, color=colour)


def panels(
    count: int,
    columns: int,
    size: tuple[float, float],
    margin: float = 0.4,
    *,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels, row by row.

    Args:
        count: Number of panels; unused places in the last row stay empty.
        columns: Maximum number of panels in a row.
        size: Width and height of a panel, inches.
        margin: Height to add for a legend or title, inches.
        sharex: Whether all panels have the same x range.
        sharey: Whether all panels have the same y range.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(max(4.0, size[0] * columns), size[1] * rows + margin)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for unused in axes.flat[count:]:
        unused.axis("off")
    return figure, axes.ravel().tolist()[:count]


def grid(
    num_cells: int, columns: int, cell: float = 1.25, title: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure of square cells, row by row; unused cells stay empty."""
    figure, cells = panels(num_cells, columns, (cell, cell), 0.5)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure, cells


def label_left(axes: Sequence[Axes], label: str) -> None:
    """Labels the y axis of the first panel in each row."""
    for each in axes:
        spec = each.get_subplotspec()
        if spec is not None and spec.is_first_col():
            each.set_ylabel(label)


def band(
    axes: Axes,
    x: Array | Sequence[float],
    values: Array | Sequence[Array | Sequence[float]],
    colour: str,
    label: str,
    marker: str = "",
) -> None:
    """Draws the mean over seeds as a line, and the range of the seeds as a band.

    Args:
        axes: Panel to draw in.
        x: Positions (N,).
        values: Values (seeds, N).
        colour: Colour of line and band.
        label: Name in the legend.
        marker: Marker of the line; empty for none.
    """
    values = np.asarray(values)
    axes.plot(x, values.mean(0), marker=marker, color=colour, label=label, linewidth=1.6)
    if len(values) > 1:
        low, high = values.min(0), values.max(0)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def legend_above(figure: Figure, axes: Axes, most: int = 5) -> None:
    """Adds one legend for all panels above them.

    Args:
        figure: Figure with the panels.
        axes: Panel whose lines are listed.
        most: Maximum number of columns; long names get fewer.
    """
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    fitting = int(figure.get_figwidth() / (0.5 + 0.085 * longest))  # 0.5 inch for a line sample
    columns = max(1, min(most, len(labels), fitting))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
