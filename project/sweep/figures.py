"""Optuna's figures of a study, in the style of the project's other figures."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna.visualization.matplotlib as plots
from matplotlib import rc_context, rcParams, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import Study
from optuna.trial import TrialState

from project.figures.style import MARK, TRAIN, VAL, as_label, clean

EVALUATOR = "PED-ANOVA"  # https://doi.org/10.24963/ijcai.2023/488
MAX_COLUMNS = 3  # slices side by side


def draw_figures(
    study: Study, keys: Sequence[str], pair: Sequence[str], metric: str
) -> Iterator[tuple[str, Figure]]:
    """Draws a study: name and figure, one after another.

    Args:
        study: Study of Optuna with at least one finished trial.
        keys: Searched keys.
        pair: Two numeric keys for the contour; empty for no contour.
        metric: Name of the score.
    """
    with _house_style():
        yield "history", _draw_history(study, metric)
        yield "slices", _draw_slices(study, keys, metric)
        yield "intermediate_values", _draw_intermediate_values(study, metric)
        timeline = plots.plot_timeline(study)
        timeline.yaxis.set_major_locator(MaxNLocator(integer=True))
        yield "timeline", _finish(timeline, xlabel="time", ylabel="trial")
        if pair:
            contour = plots.plot_contour(study, list(pair), target_name=metric)
            yield "contour", _finish(contour, pair[0], pair[1])
        if has_importances(study):
            evaluator = PedAnovaImportanceEvaluator()
            bars = plots.plot_param_importances(study, evaluator=evaluator)
            label = f"importance ({EVALUATOR}, complete trials)"
            figure = _finish(bars, xlabel=label, ylabel="", legend=False)
            bars.set_xlim(0, 1.1)
            yield "importance", figure


def has_importances(study: Study) -> bool:
    """Whether the scores differ, so that the importance of keys can be computed."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len({trial.value for trial in complete}) > 1


def _draw_history(study: Study, metric: str) -> Figure:
    axes = plots.plot_optimization_history(study, target_name=metric)
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    ends = [(t.number, t.intermediate_values[t.last_step]) for t in pruned if t.last_step]
    if ends:
        axes.scatter(*zip(*ends, strict=True), color=MARK, marker="x", label="pruned, last epoch")
    return _finish(axes, xlabel="trial", ylabel=metric)


def _draw_slices(study: Study, keys: Sequence[str], metric: str) -> Figure:
    drawn: Any = plots.plot_slice(study, list(keys), target_name=metric)
    panels = np.ravel(drawn)
    figure: Figure = panels[0].figure
    columns = 2 if len(panels) == 4 else min(MAX_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    grid = figure.add_gridspec(rows, columns)  # Optuna draws one row, however long
    figure.set_size_inches(2.7 * columns + 1.2, 2.9 * rows + 0.2)
    for index, axes in enumerate(panels):
        is_first = index % columns == 0
        axes.set_subplotspec(grid[divmod(index, columns)])
        axes.set_xlabel(_shorten(axes.get_xlabel(), 24))
        axes.set_ylabel(metric if is_first else "")
        axes.tick_params(labelleft=is_first)
        names = [text.get_text() for text in axes.get_xticklabels()]
        if any(name.startswith("'") for name in names):  # choices of text, which Optuna quotes
            labels = [_shorten(name.strip("'"), 14) for name in names]
            axes.set_xticks(axes.get_xticks(), labels, rotation=30, ha="right")
        clean(axes)
    figure.suptitle("")
    plt.close(figure)
    return figure


def _draw_intermediate_values(study: Study, metric: str) -> Figure:
    axes = plots.plot_intermediate_values(study)
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    complete = [t for t in trials.values() if t.state == TrialState.COMPLETE]
    best = study.best_trial.number if complete else None
    kinds: dict[str, Line2D] = {}
    for line in axes.lines:
        number = int(str(line.get_label()).removeprefix("Trial"))
        kind = trials[number].state.name.lower()
        line.set(color=TRAIN, marker="", linewidth=1, alpha=0.6)
        if kind == "pruned":
            line.set(color=MARK, marker="x", markevery=[-1])
        if number == best:
            kind = f"trial {number}, the best"
            line.set(color=VAL, linewidth=2, alpha=1, zorder=3)
        line.set_label("_" if kind in kinds else kind)  # one entry of each kind in the legend
        kinds[kind] = line
    return _finish(axes, xlabel="epoch", ylabel=metric)


def _finish(drawn: Any, xlabel: str, ylabel: str, legend: bool = True) -> Figure:
    """Sets labels, no title and a quiet frame, puts the legend on top, and closes the figure."""
    axes: Axes = drawn
    axes.set(xlabel=xlabel, ylabel=ylabel)
    for side in ("left", "center"):
        axes.set_title("", loc=side)
    if (old := axes.get_legend()) is not None:
        handles, labels = axes.get_legend_handles_labels()
        if not handles:  # a legend of patches, as the timeline has
            handles = [each for each in old.legend_handles if each is not None]
            labels = [text.get_text() for text in old.get_texts()]
        old.remove()
        if legend:
            place: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 3}
            axes.legend(handles, labels, frameon=False, **place)
    if xlabel in ("trial", "epoch"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    clean(axes)
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_layout_engine("constrained")  # Optuna made room for a legend on the right
    plt.close(figure)
    return figure


def _shorten(text: str, length: int) -> str:
    return as_label(text if len(text) <= length else text.rpartition(".")[2], length)


@contextmanager
def _house_style() -> Iterator[None]:
    """Replaces the style that Optuna's functions choose, which is named ggplot."""
    settings: Any = {
        "figure.figsize": (6.4, 4.0),
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "font.family": rcParams["font.family"],
    }
    ggplot = style.library["ggplot"]
    with rc_context(settings), plt.ioff(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a study without complete trials has empty axes
        style.library["ggplot"] = settings
        try:
            yield
        finally:
            style.library["ggplot"] = ggplot
