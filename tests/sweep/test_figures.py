"""Figures of a study: Optuna's, with the project's additions."""

import math
from datetime import datetime, timedelta

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from matplotlib import rcParams, style
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from project.figures.style import MARK, VAL
from project.sweep.figures import draw_figures

KEYS = {
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer.weight_decay": FloatDistribution(0.0, 1.0),
    "optimizer._target_": CategoricalDistribution(("torch.optim.AdamW", "torch.optim.RMSprop")),
}
PAIR = ("optimizer.lr", "optimizer.weight_decay")
FAILED = math.nan  # score of a trial that failed in its first epoch


def make_study(*scores: float | None, direction: str = "maximize") -> optuna.Study:
    """A study with one trial per score; None for a pruned trial, ``FAILED`` for a failed one."""
    study = optuna.create_study(direction=direction)
    for number, score in enumerate(scores):
        params = {
            "optimizer.lr": 0.001 * 2**number,
            "optimizer.weight_decay": 0.1 * (number % 3),
            "optimizer._target_": KEYS["optimizer._target_"].choices[number % 2],  # type: ignore[attr-defined]
        }
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        curve = {1: 0.1, 2: score or 0.2}
        if score is not None and math.isnan(score):
            state, score, curve = TrialState.FAIL, None, {}
        trial = create_trial(
            state=state, value=score, params=params, distributions=KEYS, intermediate_values=curve
        )
        trial.datetime_start = datetime(2026, 1, 1) + timedelta(seconds=2 * number)
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=3)
        study.add_trial(trial)
    return study


def draw(study: optuna.Study) -> dict[str, Figure]:
    figures = dict(draw_figures(study, list(KEYS), PAIR, "val/accuracy"))
    for figure in figures.values():
        figure.draw_without_rendering()  # labels and ticks exist only then; faults show up
    return figures


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    return make_study(0.5, None, 0.9, FAILED, 0.7, 0.6)


@pytest.fixture(scope="module")
def figures(study: optuna.Study) -> dict[str, Figure]:
    return draw(study)


def labels(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_each_figure_names_what_its_axes_show(figures: dict[str, Figure]) -> None:
    axes = {name: figure.axes[0] for name, figure in figures.items()}
    assert {name: (each.get_xlabel(), each.get_ylabel()) for name, each in axes.items()} == {
        "history": ("trial", "val/accuracy"),
        "slices": ("optimizer._target_", "val/accuracy"),
        "intermediate_values": ("epoch", "val/accuracy"),
        "timeline": ("time", "trial"),
        "contour": PAIR,
        "importance": ("importance (PED-ANOVA, complete trials)", ""),
    }


def test_the_history_shows_where_each_trial_ended_and_the_best_so_far(
    figures: dict[str, Figure],
) -> None:
    axes = figures["history"].axes[0]
    points = {str(each.get_label()): each.get_offsets().tolist() for each in axes.collections}  # type: ignore[union-attr]
    assert points["val/accuracy"] == [[0, 0.5], [2, 0.9], [4, 0.7], [5, 0.6]]
    assert points["pruned, last epoch"] == [[1, 0.2]]
    assert axes.lines[0].get_xydata().tolist() == [  # type: ignore[union-attr]
        *([0, 0.5], [1, 0.5], [2, 0.9], [3, 0.9], [4, 0.9], [5, 0.9])
    ]
    assert labels(figures["history"]) == ["val/accuracy", "Best Value", "pruned, last epoch"]


def test_the_timeline_has_a_bar_per_trial_in_the_colour_of_its_state(
    study: optuna.Study, figures: dict[str, Figure]
) -> None:
    axes = figures["timeline"].axes[0]
    bars = [
        (bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches
    ]  # type: ignore[attr-defined]
    trials = study.get_trials(deepcopy=False)
    times = [(date2num(t.datetime_start), date2num(t.datetime_complete)) for t in trials]
    expected = [(number, start, end - start) for number, (start, end) in enumerate(times)]
    assert np.allclose(bars, expected, rtol=0, atol=1e-9)
    legend = axes.get_legend()
    assert legend is not None
    assert labels(figures["timeline"]) == ["COMPLETE", "FAIL", "PRUNED"]
    colours = [to_hex(handle.get_facecolor()) for handle in legend.legend_handles]  # type: ignore[union-attr]
    assert len(set(colours)) == 3
    of_state = dict(zip(labels(figures["timeline"]), colours, strict=True))
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [
        of_state[trial.state.name] for trial in trials
    ]


def test_the_importances_are_those_of_the_evaluator_with_the_greatest_on_top(
    study: optuna.Study, figures: dict[str, Figure]
) -> None:
    axes = figures["importance"].axes[0]
    expected = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    names = [text.get_text() for text in axes.get_yticklabels()]
    heights = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == sorted(heights)
    assert names == list(expected)[::-1]
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx(list(expected.values())[::-1])
    assert widths == sorted(widths)
    assert widths[-1] > 0.3
    texts = [f"{width:.2f}" if width >= 0.01 else "<0.01" for width in widths]
    assert [text.get_text() for text in axes.texts] == texts


def test_the_contour_has_a_surface_only_over_the_range_of_the_complete_trials(
    figures: dict[str, Figure],
) -> None:
    axes = figures["contour"].axes[0]
    assert axes.get_xscale() == "log"
    lines, surface = (each for each in axes.collections if isinstance(each, ContourSet))
    assert not lines.filled
    assert surface.filled
    points = np.concatenate(
        [c.get_offsets() for c in axes.collections if c not in (lines, surface)]
    )  # type: ignore[list-item]
    assert points.tolist() == [[0.001, 0], [0.004, 0.2], [0.016, 0.1], [0.032, 0.2]]
    assert (surface.zmin, surface.zmax) == pytest.approx((0.5, 0.9))
    padded = [[0.001 / 32**0.05, -0.01], [0.032 * 32**0.05, 0.21]]  # by 5 % of the range
    corners = np.concatenate([path.vertices for path in surface.get_paths()])
    assert np.allclose([corners.min(axis=0), corners.max(axis=0)], padded)


@pytest.mark.parametrize("scores", [(0.5,), (0.5, None), (None, None), (FAILED, FAILED)])
def test_the_contour_has_no_surface_of_fewer_than_two_complete_trials(
    scores: tuple[float | None, ...],
) -> None:
    assert not draw(make_study(*scores))["contour"].axes[0].collections


def test_pruned_trials_end_in_a_cross_and_the_best_stands_out(figures: dict[str, Figure]) -> None:
    lines = figures["intermediate_values"].axes[0].lines
    assert [line.get_linewidth() for line in lines] == [1, 1, 2, 1, 1]
    assert to_hex(lines[2].get_color()) == VAL
    crosses = [line for line in lines if line.get_marker() == "x"]
    assert [line.get_xydata()[-1].tolist() for line in crosses] == [[2, 0.2]]  # type: ignore[union-attr]
    assert to_hex(crosses[0].get_color()) == MARK
    assert labels(figures["intermediate_values"]) == ["complete", "pruned", "trial 2, the best"]


def test_slices_have_a_panel_per_key_with_its_scale_and_short_choices(
    figures: dict[str, Figure],
) -> None:
    panels = {axes.get_xlabel(): axes for axes in figures["slices"].axes[:3]}
    assert set(panels) == set(KEYS)
    assert panels["optimizer.lr"].get_xscale() == "log"
    assert panels["optimizer.weight_decay"].get_xscale() == "linear"
    ticks = [text.get_text() for text in panels["optimizer._target_"].get_xticklabels()]
    assert ticks == ["AdamW", "RMSprop"]


def test_the_best_value_follows_the_direction() -> None:
    for direction, best in (("maximize", [0.5, 0.9, 0.9]), ("minimize", [0.5, 0.5, 0.2])):
        study = make_study(0.5, 0.9, 0.2, direction=direction)
        line = draw(study)["history"].axes[0].lines[0]
        assert line.get_ydata().tolist() == best  # type: ignore[union-attr]


def test_nothing_is_left_open_or_changed_in_matplotlib() -> None:
    before, ggplot = dict(rcParams), dict(style.library["ggplot"])
    draw(make_study(0.5, 0.9, 0.2))
    assert dict(rcParams) == before
    assert dict(style.library["ggplot"]) == ggplot
    assert plt.get_fignums() == []


@pytest.mark.parametrize("scores", [(None,), (FAILED,), (0.5,), (0.5, 0.5, 0.5)])
def test_few_or_equal_trials_have_figures_too(scores: tuple[float | None, ...]) -> None:
    figures = draw(make_study(*scores))
    assert set(figures) == {"history", "slices", "intermediate_values", "timeline", "contour"}
