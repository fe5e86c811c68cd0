"""Figures of a search, from plain data: what is in them."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from project.figures.search import (
    Trial,
    contour,
    history,
    importance,
    intermediate_values,
    slices,
    timeline,
)
from project.figures.style import MARK

LOGS = {"lr"}


def make_trial(number: int, score: float, state: str = "complete", **params: object) -> Trial:
    params = {
        "lr": 0.01 * 2**number,
        "decay": 0.1 * (number % 3),
        "name": "ab"[number % 2],
    } | params
    curve = {} if math.isnan(score) else {1: score / 2, 2: score}
    return Trial(number, state, score, curve, params, 2.0 * number, 2.0 * number + 3)  # type: ignore[arg-type]


TRIALS = [
    make_trial(0, 0.5),
    make_trial(1, 0.2, "pruned"),
    make_trial(2, 0.9),
    make_trial(3, math.nan, "failed"),
    make_trial(4, 0.7),
]


def draw(figure: Figure) -> Figure:
    figure.draw_without_rendering()  # labels and ticks exist only then; faults show up
    return figure


def labels(figure: Figure) -> list[str]:
    found = [legend for axes in figure.axes if (legend := axes.get_legend())] + figure.legends
    return [text.get_text() for legend in found for text in legend.get_texts()]


def test_history_shows_each_score_where_it_ended_and_the_best_so_far() -> None:
    figure = draw(history(TRIALS, "val/accuracy", "max"))
    axes = figure.axes[0]
    points = {label.get_label(): label.get_offsets().tolist() for label in axes.collections}  # type: ignore[union-attr]
    assert points["complete"] == [[1, 0.5], [3, 0.9], [5, 0.7]]
    assert points["pruned, its last epoch"] == [[2, 0.2]]
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.9, 0.9, 0.9]  # type: ignore[union-attr]
    lowest = history(TRIALS, "val/loss", "min").axes[0].lines[0]
    assert lowest.get_ydata().tolist() == [0.5, 0.5, 0.5, 0.5]  # type: ignore[union-attr]
    assert axes.get_ylabel() == "val/accuracy"


def test_pruned_trials_end_in_a_cross_and_the_best_stands_out() -> None:
    axes = draw(intermediate_values(TRIALS, "val/accuracy", 2)).axes[0]
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in crosses] == [(2, 0.2)]  # type: ignore[index]
    assert to_hex(crosses[0].get_color()) == MARK
    widths = [line.get_linewidth() for line in axes.lines if line.get_marker() != "x"]
    assert sorted(widths) == [1, 1, 1, 2]
    assert "trial 2, the best" in labels(axes.figure)  # type: ignore[arg-type]


def test_slices_have_a_panel_for_each_key_with_its_scale() -> None:
    figure = draw(slices(TRIALS, ["lr", "decay", "name"], LOGS, "val/accuracy"))
    assert [axes.get_xlabel() for axes in figure.axes] == ["lr", "decay", "name"]
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "linear"]
    ticks = [text.get_text() for text in figure.axes[2].get_xticklabels()]
    assert set("ab") <= set(ticks)
    assert labels(figure) == ["pruned, its last epoch", "complete"]


def test_contour_colours_only_where_there_are_three_points_off_a_line() -> None:
    figure = draw(contour(TRIALS, "lr", "decay", LOGS, "val/accuracy"))
    assert figure.axes[0].get_xscale() == "log"
    assert len(figure.axes[0].collections) == 2  # the area and the dots
    in_line = [make_trial(n, 0.1 * n, lr=2.0**n, decay=1.0) for n in range(4)]
    assert len(draw(contour(in_line, "lr", "decay", LOGS, "s")).axes[0].collections) == 1
    equal = [make_trial(n, 0.5) for n in range(4)]
    assert len(draw(contour(equal, "lr", "decay", LOGS, "s")).axes[0].collections) == 1


def test_timeline_has_a_bar_for_each_trial() -> None:
    axes = draw(timeline(TRIALS)).axes[0]
    bars = [
        (bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches
    ]  # type: ignore[attr-defined]
    assert np.allclose(sorted(bars), [(n, 2.0 * n, 3.0) for n in range(5)])
    assert labels(axes.figure) == ["complete", "pruned", "failed"]  # type: ignore[arg-type]


def test_importance_names_its_evaluator_and_puts_the_greatest_on_top() -> None:
    axes = draw(importance({"lr": 0.7, "decay": 0.3}, "PED-ANOVA")).axes[0]
    assert "PED-ANOVA" in axes.get_xlabel()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["decay", "lr"]
    assert [text.get_text() for text in axes.texts] == ["0.30", "0.70"]


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_a_search_without_a_complete_trial_has_figures_too(state: str) -> None:
    trials = [make_trial(0, math.nan if state == "failed" else 0.3, state)]
    for figure in (
        history(trials, "s", "max"),
        intermediate_values(trials, "s", None),
        slices(trials, ["lr"], LOGS, "s"),
        contour(trials, "lr", "decay", LOGS, "s"),
        timeline(trials),
    ):
        draw(figure)
