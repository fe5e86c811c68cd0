"""Figures of what an autoencoder's code is worth."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from project.core.arrays import Array
from project.figures.style import COLOURS, as_label, clean, legend_above, new_figure

MAX_LETTERS = 2  # of names that are written among the dots


def latent_space(codes: Array, targets: Array, classes: Sequence[str]) -> Figure:
    """Codes as dots, coloured by class.

    Args:
        codes: (N, 2).
        targets: (N,) classes.
        classes: their names.
    """
    figure = new_figure(6.2, 4.6)
    axes = figure.subplots()
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    for index, name in enumerate(classes):
        chosen = codes[targets == index]
        colour = colours[index % len(colours)]
        axes.plot(*chosen.T, "o", color=colour, markersize=3, alpha=0.6, label=as_label(name))
        if len(chosen) and len(name) <= MAX_LETTERS:  # longer ones would hide one another
            axes.annotate(
                as_label(name),
                np.median(chosen, axis=0),
                fontsize=11,
                weight="bold",
                ha="center",
                va="center",
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "lw": 0},
            )
    axes.set_xlabel("first number of the code")
    axes.set_ylabel("second number of the code")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    clean(axes)
    return figure


def label_curves(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], counts: Sequence[int]
) -> Figure:
    """Accuracy over the number of labels, a panel for each classifier.

    Args:
        panels: by classifier and input, one curve a seed.
        counts: of labels.
    """
    figure = new_figure(3.9 * len(panels), 3.4)
    cells = figure.subplots(1, len(panels), squeeze=False, sharey=True).ravel()
    for axes, (title, by_input) in zip(cells, panels.items(), strict=True):
        for place, (name, found) in enumerate(by_input.items()):
            values, colour = np.array(found), COLOURS[place % len(COLOURS)]
            axes.plot(counts, values.mean(0), "o-", color=colour, label=name)
            axes.fill_between(
                counts, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0
            )
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.set_xlabel("labels")
        axes.set_title(title, fontsize=10)
        clean(axes)
    cells[0].set_ylabel("accuracy on val")
    legend_above(figure, cells[0])
    return figure
