"""Figures of what is inside a convolutional network."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import VAL, as_label, grid, show_image

MAPS_SHOWN = 8


def filters(kernels: Array) -> Figure:
    """Filters as small pictures on one scale.

    Args:
        kernels: (filters, height, width).
    """
    figure, cells = grid(len(kernels), 8, cell=0.9)
    reach = float(np.abs(kernels).max())
    for axes, kernel in zip(cells, kernels, strict=True):
        picture = axes.imshow(kernel, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(picture, ax=cells, label="weight", shrink=0.8)
    return figure


def feature_maps(rows: Mapping[str, Array]) -> Figure:
    """The first maps of each step, a row a step.

    Args:
        rows: (maps, height, width) by step.
    """
    columns = min(MAPS_SHOWN, max(len(maps) for maps in rows.values()))
    figure, cells = grid(len(rows) * columns, columns, cell=0.95)
    for row, (name, maps) in enumerate(rows.items()):
        for column in range(columns):
            axes = cells[row * columns + column]
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if column < len(maps):
                axes.imshow(maps[column], cmap="gray")
        height, width = maps.shape[1:]
        cells[row * columns].set_ylabel(
            f"{name}\n{len(maps)} x {height} x {width}",
            fontsize=8,
            rotation=0,
            ha="right",
            va="center",
        )
    return figure


def receptive_fields(fields: Mapping[str, Array], image: Array) -> Figure:
    """What one number of the last map sees.

    Args:
        fields: (H, W) bool by network.
        image: (H, W, C) uint8 underneath.
    """
    figure, cells = grid(len(fields), len(fields), cell=2.2)
    for axes, (name, field) in zip(cells, fields.items(), strict=True):
        show_image(axes, image)
        # Edges between pixels, not contours through their centres.
        rows, columns = np.flatnonzero(field.any(1)), np.flatnonzero(field.any(0))
        top, left = rows[0] - 0.5, columns[0] - 0.5
        bottom, right = rows[-1] + 0.5, columns[-1] + 0.5
        axes.plot(
            [left, right, right, left, left],
            [top, top, bottom, bottom, top],
            color=VAL,
            linewidth=2.5,
            clip_on=False,
        )
        axes.set_title(f"{name}: {len(rows)} x {len(columns)} pixels", fontsize=9)
    return figure


def overlays(images: Array, maps: Array, titles: Sequence[str]) -> Figure:
    """Images above, and under each the same with a map over it.

    Args:
        images: (N, H, W, C) uint8.
        maps: (N, H, W) from 0.
        titles: one an image.
    """
    count = len(images)
    figure, cells = grid(2 * count, count, cell=1.5)
    for column, (image, found, title) in enumerate(zip(images, maps, titles, strict=True)):
        show_image(cells[column], image, as_label(title, 30))
        show_image(cells[count + column], image)
        cells[count + column].imshow(found, cmap="magma", alpha=0.6)
    return figure
