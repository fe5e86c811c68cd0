"""Figures of a study: Optuna draws them; what the project adds to them."""

from datetime import datetime, timedelta

import matplotlib.pyplot as plt
import optuna
import pytest
from matplotlib import rcParams, style
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from project.figures.style import MARK, VAL
from project.sweep.figures import draw_figures

KEYS = {
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer.weight_decay": FloatDistribution(0.0, 1.0),
    "optimizer._target_": CategoricalDistribution(("torch.optim.AdamW", "torch.optim.RMSprop")),
}
PAIR = ("optimizer.lr", "optimizer.weight_decay")


def make_study(*scores: float | None, direction: str = "maximize") -> optuna.Study:
    """A study with one trial per score; None for a pruned trial."""
    study = optuna.create_study(direction=direction)
    for number, score in enumerate(scores):
        params = {
            "optimizer.lr": 0.001 * 2**number,
            "optimizer.weight_decay": 0.1 * (number % 3),
            "optimizer._target_": KEYS["optimizer._target_"].choices[number % 2],  # type: ignore[attr-defined]
        }
        trial = create_trial(
            state=TrialState.PRUNED if score is None else TrialState.COMPLETE,
            value=score,
            params=params,
            distributions=KEYS,
            intermediate_values={1: 0.1, 2: score or 0.2},
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
def figures() -> dict[str, Figure]:
    return draw(make_study(0.5, None, 0.9, 0.7, 0.6))


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


@pytest.mark.parametrize("scores", [(None,), (0.5,), (0.5, 0.5, 0.5)])
def test_few_or_equal_trials_have_figures_too(scores: tuple[float | None, ...]) -> None:
    figures = draw(make_study(*scores))
    assert set(figures) == {"history", "slices", "intermediate_values", "timeline", "contour"}
