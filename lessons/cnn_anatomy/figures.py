"""Figures of the parts of a convolutional network."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import VAL, as_label, grid, show_image

MAPS_SHOWN = 8


def filters(kernels: Array) -> Figure:
    """Filters as small images on one scale.

    Args:
        kernels: Weights (filters, height, width).
    """
    figure, cells = grid(len(kernels), 8, cell=0.9)
    reach = float(np.abs(kernels).max())
    for axes, kernel in zip(cells, kernels, strict=True):
        image = axes.imshow(kernel, cmap="RdBu_r", vmin=-reach, vmax=reach)
        _hide_ticks(axes)
    figure.colorbar(image, ax=cells, label="weight", shrink=0.8)
    return figure


def feature_maps(steps: Mapping[str, Array]) -> Figure:
    """The first feature maps of each step, one row per step.

    Args:
        steps: Feature maps (maps, height, width), by step.
    """
    columns = min(MAPS_SHOWN, max(len(maps) for maps in steps.values()))
    figure, cells = grid(len(steps) * columns, columns, cell=0.95)
    for row, (name, maps) in enumerate(steps.items()):
        of_row = cells[row * columns : (row + 1) * columns]
        for axes in of_row:
            _hide_ticks(axes)
            axes.spines[:].set_visible(False)
        for axes, each in zip(of_row, maps, strict=False):
            axes.imshow(each, cmap="gray")
        label = f"{name}\n{len(maps)} x {maps.shape[1]} x {maps.shape[2]}"
        of_row[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    return figure


def _hide_ticks(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def receptive_fields(fields: Mapping[str, Array], image: Array) -> Figure:
    """The receptive field of one number of the last feature map.

    Args:
        fields: Masks (H, W), by network.
        image: Image (H, W, C) uint8 to draw them on.
    """
    figure, cells = grid(len(fields), len(fields), cell=2.2)
    for axes, (name, field) in zip(cells, fields.items(), strict=True):
        show_image(axes, image)
        # Along the edges of pixels, where a contour would pass through their centres.
        rows, columns = np.flatnonzero(field.any(1)), np.flatnonzero(field.any(0))
        top, left = rows[0] - 0.5, columns[0] - 0.5
        bottom, right = rows[-1] + 0.5, columns[-1] + 0.5
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        axes.plot(x, y, color=VAL, linewidth=2.5, clip_on=False)
        axes.set_title(f"{name}: {len(rows)} x {len(columns)} pixels", fontsize=9)
    return figure


def overlays(images: Array, maps: Array, titles: Sequence[str]) -> Figure:
    """Images, and below each the same image under its map.

    Args:
        images: Images (N, H, W, C) uint8.
        maps: Maps (N, H, W), >= 0.
        titles: One title per image.
    """
    count = len(images)
    figure, cells = grid(2 * count, count, cell=1.5)
    for column, (image, each, title) in enumerate(zip(images, maps, titles, strict=True)):
        show_image(cells[column], image, as_label(title, 30))
        show_image(cells[count + column], image)
        cells[count + column].imshow(each, cmap="magma", alpha=0.6)
    return figure
