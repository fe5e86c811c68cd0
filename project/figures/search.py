"""Figures of a hyperparameter search: its trials over time, over epochs and over their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import LinearTriInterpolator, Triangulation

from project.core.arrays import Array
from project.figures.style import MARK, TRAIN, VAL, clean, legend_above, new_figure

FAILED = "#cc79a7"  # of the same palette as the other colours


@dataclass(frozen=True)
class Trial:
    """What the figures show of a trial.

    Attributes:
        number: from 0.
        state: how it ended.
        score: of its best epoch, or of its last one if it was pruned; NaN if it has none.
        curve: its score after each epoch, from the first.
        params: its values by key.
        started: seconds since the search began.
        ended: likewise.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    score: float
    curve: Mapping[int, float]
    params: Mapping[str, Any]
    started: float
    ended: float


def history(trials: Sequence[Trial], metric: str, mode: Literal["min", "max"]) -> Figure:
    """Scores in the order in which the trials ended, and the best so far.

    Args:
        trials: finished.
        metric: name of the score.
        mode: whether it is to be large or small.
    """
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    ordered = sorted(trials, key=lambda trial: trial.ended)
    places = {trial.number: place for place, trial in enumerate(ordered, start=1)}
    _scatter(axes, trials, [places[trial.number] for trial in trials])
    complete = [trial for trial in ordered if trial.state == "complete"]
    if complete:
        best = (np.maximum if mode == "max" else np.minimum).accumulate(
            [trial.score for trial in complete]
        )
        steps = [places[trial.number] for trial in complete]
        axes.step(
            [*steps, len(ordered)], [*best, best[-1]], where="post", color=TRAIN, label="best"
        )
    axes.set_xlabel("trials finished")
    axes.set_ylabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes)
    return figure


def importance(shares: Mapping[str, float], evaluator: str) -> Figure:
    """How much of what the score does is owed to each key.

    Args:
        shares: by key, summing to 1.
        evaluator: by which they were found.
    """
    figure = new_figure(6.4, 0.9 + 0.4 * len(shares))
    axes = figure.subplots()
    ordered = sorted(shares.items(), key=lambda item: item[1])
    bars = axes.barh([key for key, _ in ordered], [share for _, share in ordered], color=TRAIN)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_xlim(0, 1.1)
    axes.set_xlabel(f"importance ({evaluator}, complete trials)")
    clean(axes)
    return figure


def slices(trials: Sequence[Trial], keys: Sequence[str], logs: set[str], metric: str) -> Figure:
    """The score over each key alone.

    Args:
        trials: finished.
        keys: that were searched.
        logs: those of them that were searched on a logarithmic scale.
        metric: name of the score.
    """
    columns = 2 if len(keys) == 4 else min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = new_figure(3.2 * columns, 2.8 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, key in zip(panels, keys, strict=False):
        _scale(axes.set_xscale, key in logs)
        _scatter(axes, trials, [_place(trial.params[key]) for trial in trials])
        axes.set_xlabel(key)
        clean(axes)
    for row in range(rows):
        panels[row * columns].set_ylabel(metric)
    for axes in panels[len(keys) :]:
        axes.axis("off")
    legend_above(figure, panels[0], most=3)
    return figure


def contour(trials: Sequence[Trial], x: str, y: str, logs: set[str], metric: str) -> Figure:
    """The score over two keys: coloured between complete trials, never beyond them.

    Args:
        trials: finished.
        x: key of the horizontal axis.
        y: key of the vertical axis.
        logs: keys that were searched on a logarithmic scale.
        metric: name of the score.
    """
    figure = new_figure(6.0, 4.4)
    axes = figure.subplots()
    complete = [trial for trial in trials if trial.state == "complete"]
    at = np.array([[trial.params[x], trial.params[y]] for trial in complete], dtype=float)
    at = at.reshape(-1, 2)
    scores = np.array([trial.score for trial in complete])
    scaled = [np.log(at[:, i]) if key in logs else at[:, i] for i, key in enumerate((x, y))]
    others = [trial for trial in trials if trial.state != "complete"]
    axes.plot(
        [trial.params[x] for trial in others],
        [trial.params[y] for trial in others],
        "x",
        color=MARK,
        alpha=0.6,
        label="pruned or failed",
    )
    if len(complete):
        if _spans_a_plane(np.column_stack(scaled)) and scores.min() < scores.max():
            between = LinearTriInterpolator(Triangulation(*scaled), scores)
            lines = [np.linspace(part.min(), part.max(), 200) for part in scaled]
            ticks = [
                np.exp(line) if key in logs else line
                for key, line in zip((x, y), lines, strict=True)
            ]
            axes.contourf(*ticks, between(*np.meshgrid(*lines)), 12, cmap="viridis", alpha=0.6)
        dots = axes.scatter(
            at[:, 0], at[:, 1], c=scores, cmap="viridis", edgecolors="black", label="complete"
        )
        figure.colorbar(dots, ax=axes, label=metric)
    _scale(axes.set_xscale, x in logs)
    _scale(axes.set_yscale, y in logs)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    clean(axes)
    for artist in axes.collections:  # else the axes end where the contour does
        artist.sticky_edges.x.clear()
        artist.sticky_edges.y.clear()
    axes.autoscale_view()
    return figure


def intermediate_values(trials: Sequence[Trial], metric: str, best: int | None) -> Figure:
    """The score of every trial over its epochs; where one was pruned, its line ends in a cross.

    Args:
        trials: finished.
        metric: name of the score.
        best: number of the trial that is emphasised.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    labels = set()
    for trial in trials:
        if not trial.curve:
            continue
        epochs, scores = list(trial.curve), list(trial.curve.values())
        is_pruned = trial.state == "pruned"
        colour = VAL if trial.number == best else MARK if is_pruned else TRAIN
        label = f"trial {best}, the best" if trial.number == best else trial.state
        axes.plot(
            epochs,
            scores,
            "-",
            color=colour,
            linewidth=2 if trial.number == best else 1,
            alpha=1 if trial.number == best else 0.6,
            zorder=3 if trial.number == best else 2,
            label=None if label in labels else label,
        )
        labels.add(label)
        if is_pruned:
            axes.plot(epochs[-1], scores[-1], "x", color=colour, markersize=6)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes)
    return figure


def timeline(trials: Sequence[Trial]) -> Figure:
    """When each trial ran.

    Args:
        trials: finished.
    """
    figure = new_figure(6.4, 1.2 + min(8.0, 0.16 * len(trials)))
    axes = figure.subplots()
    for state, colour in (("complete", TRAIN), ("pruned", "#bbbbbb"), ("failed", FAILED)):
        shown = [trial for trial in trials if trial.state == state]
        if shown:
            axes.barh(
                [trial.number for trial in shown],
                [trial.ended - trial.started for trial in shown],
                left=[trial.started for trial in shown],
                color=colour,
                label=state,
            )
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the search began")
    axes.set_ylabel("trial")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        _finish(axes)
    return figure


def _scatter(axes: Axes, trials: Sequence[Trial], places: Sequence[Any]) -> None:
    looks: dict[str, dict[str, Any]] = {
        "pruned": {"marker": "x", "color": MARK, "alpha": 0.6},
        "complete": {"marker": "o", "color": TRAIN},
    }
    for state, look in looks.items():
        shown = [
            (place, trial.score)
            for place, trial in zip(places, trials, strict=True)
            if trial.state == state and np.isfinite(trial.score)
        ]
        if shown:
            label = "complete" if state == "complete" else "pruned, its last epoch"
            axes.scatter(*zip(*shown, strict=True), label=label, zorder=3, **look)


def _place(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else str(value)


def _scale(set_scale: Any, is_log: bool) -> None:
    if is_log:
        set_scale("log")


def _spans_a_plane(points: Array) -> bool:
    """Whether there are three points that are not on one line."""
    return len(points) >= 3 and bool(np.linalg.matrix_rank(points - points[0]) == 2)


def _finish(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    clean(axes)
