"""The learning-rate range test: its suggestion trains well, and only its curve is stored."""

from pathlib import Path

import numpy as np
import pytest
from conftest import configure
from matplotlib.backends.backend_agg import FigureCanvasAgg

import project
from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.core.errors import TrainingError, UserError
from project.figures.training import range_test
from project.tracking.find import find_run
from project.tracking.run import Run
from project.train import train
from project.training.lr_finder import SIGMA, RangeTest, find_lr, smooth, suggest

SETTINGS = ("model.width=8", "data.limit_train=640", "augment=none")


@pytest.fixture(scope="module")
def tested() -> RangeTest:
    return find_lr(configure(*SETTINGS))


# The suggestion is conservative: on tiny digits, a rate 10 times as high trained even better.
@pytest.mark.parametrize("overrides", [SETTINGS, ("data=diabetes",)])
def test_the_suggested_rate_trains_better_than_much_lower_and_higher_ones(
    overrides: tuple[str, ...], tested: RangeTest
) -> None:
    suggested = (tested if overrides == SETTINGS else find_lr(configure(*overrides))).suggested
    assert suggested is not None
    losses = []
    for factor in (1, 1e-3, 30):
        rate = f"optimizer.lr={suggested * factor}"
        result = train(configure(*overrides, "trainer.max_epochs=3", rate), log_model=False)
        losses.append(result.metrics["loss"])
    assert losses[0] < 0.8 * min(losses[1:])


def test_it_is_a_function_of_the_seed(tested: RangeTest) -> None:
    again = find_lr(configure(*SETTINGS))
    np.testing.assert_array_equal(again.losses, tested.losses)
    assert again.suggested == tested.suggested
    assert not np.array_equal(find_lr(configure(*SETTINGS, "seed=2")).losses, tested.losses)


def test_its_run_has_the_curve_and_is_not_a_trained_run(own_store: Path) -> None:
    test = find_lr(configure("data=line"))
    run = Run(test.run_id)
    stored = run.mlflow_run
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "find-lr-linear-line"
    assert stored.data.metrics["suggested_lr"] == pytest.approx(test.suggested)
    steps, rates = run.history("lr")
    assert steps.tolist() == list(range(len(test.rates)))
    np.testing.assert_allclose(rates, test.rates)
    assert [file.path for file in run.client.list_artifacts(run.id, "figures")] == [
        "figures/learning_rate.png"
    ]
    with pytest.raises(UserError, match="no runs yet"):
        find_run("last")


def test_nothing_is_suggested_where_nothing_falls() -> None:
    rates = np.geomspace(1e-6, 10, 140)
    noise = np.random.default_rng(0).normal(1, 0.05, 140)
    assert suggest(rates, smooth(noise)) is None
    assert suggest(rates, smooth(np.linspace(1, 3, 140))) is None
    assert suggest(rates[:5], smooth(noise[:5])) is None


def test_the_steepest_place_is_suggested() -> None:
    rates = np.geomspace(1e-6, 10, 140)
    losses = 1 - 0.8 / (1 + np.exp(-4 * (np.log10(rates) + 3)))  # steepest at 1e-3
    losses[-10:] = np.inf  # what explodes at the end doesn't reach back
    suggestion = suggest(rates, smooth(losses))
    assert suggestion is not None
    assert abs(np.log10(suggestion) + 3) < 0.1
    assert len(rates) > 6 * SIGMA


def test_the_figure_is_whole() -> None:
    rates = np.geomspace(1e-6, 10, 140)
    losses = np.random.default_rng(0).normal(2, 0.1, 140)
    for suggested in (1e-3, None):
        figure = range_test(rates, losses, smooth(losses), suggested)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        box = figure.get_tightbbox(canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert -0.01 <= box.x0 <= box.x1 <= width + 0.01
        assert -0.01 <= box.y0 <= box.y1 <= height + 0.01


def test_the_command_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["find-lr", "data=diabetes", "seed=3"]) == 0
    printed = capsys.readouterr().out
    rate = printed.split("suggested: optimizer.lr=")[1].split()[0]
    line = f"make train ARGS='data=diabetes seed=3 optimizer.lr={rate}'"
    assert printed.endswith(f"  {line}\n")
    assert not (project.ROOT / "lightning_logs").exists()


def test_a_loss_that_is_never_finite_is_one_line(own_store: Path) -> None:
    with pytest.raises(TrainingError, match=r"^train/loss is inf at step 1: expected a finite"):
        find_lr(configure("data=diabetes", "penalty=l2", "penalty.l2=1e38", "model=mlp"))
    assert not (own_store / "mlflow.db").exists()  # no run was opened


def test_a_mistake_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^model\.dropout: 2: expected less than 1$"):
        call(COMMANDS["find-lr"], ["model.dropout=2"])
