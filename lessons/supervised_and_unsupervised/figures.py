"""Figures of an autoencoder's code and of classifiers that use it."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import (
    COLOURS,
    as_label,
    band,
    clean,
    label_left,
    legend_above,
    new_figure,
    panels,
)

MAX_LETTERS = 2  # longer class names would hide each other among the dots


def latent_space(codes: Array, targets: Array, classes: Sequence[str]) -> Figure:
    """Codes as dots, coloured by class.

    Args:
        codes: Codes (N, 2).
        targets: Classes (N,).
        classes: Names of the classes.
    """
    figure = new_figure(6.2, 4.6)
    axes = figure.subplots()
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "lw": 0}
    style: dict[str, Any] = {
        "fontsize": 11,
        "weight": "bold",
        "ha": "center",
        "va": "center",
        "bbox": box,
    }
    for index, (name, colour) in enumerate(zip(map(as_label, classes), cycle(colours))):
        chosen = codes[targets == index]
        axes.plot(*chosen.T, "o", color=colour, markersize=3, alpha=0.6, label=name)
        if len(chosen) and len(name) <= MAX_LETTERS:
            axes.annotate(name, np.median(chosen, axis=0), **style)
    axes.set_xlabel("first number of the code")
    axes.set_ylabel("second number of the code")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    clean(axes)
    return figure


def label_curves(
    by_classifier: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], counts: Sequence[int]
) -> Figure:
    """Accuracy over the number of labels, one panel per classifier.

    Args:
        by_classifier: One curve per seed, by classifier and input.
        counts: Numbers of labels.
    """
    figure, cells = panels(len(by_classifier), len(by_classifier), (3.9, 3.0), sharey=True)
    for axes, (title, by_input) in zip(cells, by_classifier.items(), strict=True):
        for colour, (name, values) in zip(cycle(COLOURS), by_input.items()):
            band(axes, counts, values, colour, name, "o")
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.set_xlabel("labels")
        axes.set_title(title, fontsize=10)
        clean(axes)
    label_left(cells, "accuracy on val")
    legend_above(figure, cells[0])
    return figure
