"""Optuna's figures of a study: images in the style of the project's others, and a page."""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch
from warnings import catch_warnings, simplefilter

import matplotlib.pyplot as plt
import numpy as np
import optuna.visualization as interactive
import optuna.visualization.matplotlib as plots
from matplotlib import rc_context, style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import Study
from optuna.trial import TrialState

from project.figures.style import MARK, TRAIN, VAL, as_label, clean

EVALUATOR = PedAnovaImportanceEvaluator()  # https://doi.org/10.24963/ijcai.2023/488
# Takes the place of the style that Optuna's functions choose, which is named ggplot.
STYLE: Any = {"figure.figsize": (6.4, 4.0), "figure.constrained_layout.use": True, "font.size": 10}


def draw_figures(
    study: Study, keys: Sequence[str], pair: Sequence[str], metric: str
) -> Iterator[tuple[str, Figure]]:
    """Draws a study: name and figure, one after another; ``pair`` names two keys of a contour."""
    with patch.dict(style.library, ggplot=STYLE), rc_context(STYLE), plt.ioff(), catch_warnings():
        simplefilter("ignore")  # a study without complete trials has empty axes
        yield "history", _draw_history(study, metric)
        yield "slices", _draw_slices(study, keys, metric)
        yield "intermediate_values", _draw_intermediate_values(study, metric)
        yield "timeline", _finish(plots.plot_timeline(study), "time", "trial")
        if pair:
            contour = plots.plot_contour(study, list(pair), target_name=metric)
            yield "contour", _finish(contour, *pair)
        if _has_importances(study):
            bars: Any = plots.plot_param_importances(study, evaluator=EVALUATOR)
            bars.get_legend().remove()
            bars.set_xlim(0, 1.1)
            yield "importance", _finish(bars, "importance (PED-ANOVA, complete trials)", "")


def make_page(study: Study, pair: Sequence[str], metric: str) -> str:
    """Optuna's interactive figures in one HTML page, which contains plotly: it needs no network."""
    drawn = [
        interactive.plot_optimization_history(study, target_name=metric),
        interactive.plot_intermediate_values(study),
        interactive.plot_slice(study, target_name=metric),
        interactive.plot_timeline(study),
    ]
    if pair:
        drawn.append(interactive.plot_contour(study, params=list(pair), target_name=metric))
    if _has_importances(study):
        name = f"{metric}, PED-ANOVA"
        bars = interactive.plot_param_importances(study, evaluator=EVALUATOR, target_name=name)
        drawn.append(bars)
    parts = [each.to_html(full_html=False, include_plotlyjs=not i) for i, each in enumerate(drawn)]
    head = f"<head><meta charset='utf-8'><title>{study.study_name}</title></head>"
    return f"<!doctype html><html>{head}<body>{''.join(parts)}</body></html>"


def _has_importances(study: Study) -> bool:
    """Whether the scores differ, so that the importance of keys can be computed."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len({trial.value for trial in complete}) > 1


def _draw_history(study: Study, metric: str) -> Figure:
    axes = plots.plot_optimization_history(study, target_name=metric)
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    ends = [(t.number, t.intermediate_values[t.last_step]) for t in pruned if t.last_step]
    if ends:
        axes.scatter(*zip(*ends, strict=True), color=MARK, marker="x", label="pruned, last epoch")
    return _finish(axes, "trial", metric)


def _draw_slices(study: Study, keys: Sequence[str], metric: str) -> Figure:
    drawn: Any = plots.plot_slice(study, list(keys), target_name=metric)
    panels = np.ravel(drawn)
    figure: Figure = panels[0].figure
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    grid = figure.add_gridspec(rows, columns)  # Optuna draws one row, however long
    figure.set_size_inches(2.7 * columns + 1.2, 2.9 * rows + 0.2)
    for index, axes in enumerate(panels):
        is_first = index % columns == 0
        axes.set_subplotspec(grid[divmod(index, columns)])
        axes.set(xlabel=_shorten(axes.get_xlabel(), 24), ylabel=metric if is_first else "")
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
    states = {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}
    best = study.best_trial.number if TrialState.COMPLETE in states.values() else None
    kinds = set()
    for line in axes.lines:
        number = int(str(line.get_label()).removeprefix("Trial"))
        kind = states[number].name.lower()
        line.set(color=TRAIN, marker="", linewidth=1, alpha=0.6)
        if kind == "pruned":
            line.set(color=MARK, marker="x", markevery=[-1])
        if number == best:
            kind = f"trial {number}, the best"
            line.set(color=VAL, linewidth=2, alpha=1, zorder=3)
        line.set_label("_" if kind in kinds else kind)  # one entry of each kind in the legend
        kinds.add(kind)
    return _finish(axes, "epoch", metric)


def _finish(axes: Any, xlabel: str, ylabel: str) -> Figure:
    """Sets labels, no title and a quiet frame, puts the legend on top, and closes the figure."""
    axes.set(xlabel=xlabel, ylabel=ylabel)
    for side in ("left", "center"):
        axes.set_title("", loc=side)
    if (old := axes.get_legend()) is not None:
        handles, labels = axes.get_legend_handles_labels()
        if not handles:  # a legend of patches, as the timeline has
            handles, labels = old.legend_handles, [text.get_text() for text in old.get_texts()]
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 3}
        axes.legend(handles, labels, frameon=False, **place)
    if xlabel in ("trial", "epoch"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    clean(axes)
    figure: Figure = axes.figure
    figure.set_layout_engine("constrained")  # Optuna made room for a legend on the right
    plt.close(figure)
    return figure


def _shorten(text: str, length: int) -> str:
    return as_label(text if len(text) <= length else text.rpartition(".")[2], length)
