"""The lesson's own optimisers against torch.optim, and their tuning against theory."""

import math

import numpy as np
import pytest
import torch
import yaml
from conftest import configure

from lessons.descent import solve
from lessons.gradient_descent.analysis import RULES, measure_rule
from lessons.gradient_descent.surfaces import (
    BOWLS,
    RATES,
    SURFACES,
    Setting,
    Surface,
    count_steps,
    shrink,
    theory,
    tune,
    walk,
    zigzag,
)
from project.compare.plan import LESSONS
from project.config.build import build_data
from project.models.linear import Linear
from project.training.devices import make_model


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
@pytest.mark.parametrize(
    ("setting", "optimizer", "options"),
    [
        (Setting("plain descent", 0.3), torch.optim.SGD, {}),
        (Setting("heavy ball", 0.3, 0.8), torch.optim.SGD, {"momentum": 0.8}),
        (Setting("rmsprop", 0.02), torch.optim.RMSprop, {}),
        (Setting("adam", 0.1), torch.optim.Adam, {}),
    ],
    ids=lambda value: value.rule if isinstance(value, Setting) else "",
)
def test_the_rules_are_those_of_torch(surface: Surface, setting, optimizer, options) -> None:
    start = surface.start(np.random.default_rng(1))
    weights = torch.tensor(start, requires_grad=True)
    rule = optimizer([weights], lr=setting.lr, **options)
    for expected in walk(surface, start, setting, 40):
        assert weights.detach().numpy() == pytest.approx(expected, rel=1e-7, abs=1e-10)
        rule.zero_grad()
        at = weights.detach().numpy()
        weights.grad = torch.tensor(surface.gradient(at))
        rule.step()


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_a_gradient_is_the_derivative_of_its_loss(surface: Surface) -> None:
    at, step = surface.start(np.random.default_rng(2)), 1e-6
    differences = [
        (surface.loss(at + step * axis) - surface.loss(at - step * axis)) / (2 * step)
        for axis in np.eye(2)
    ]
    assert surface.gradient(at) == pytest.approx(differences, rel=1e-5)
    assert surface.loss(surface.minimum) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("condition", [10, 100, 1000])
def test_tuned_rates_come_close_to_theory(condition: int) -> None:
    bowl, start = BOWLS[condition], np.array([1.0, -2.0])
    plain, heavy = (tune(rule, bowl) for rule in ("plain descent", "heavy ball"))
    for rule, setting in (("plain descent", plain), ("heavy ball", heavy)):
        expected = theory(rule, condition)
        assert expected is not None
        factor = shrink(bowl, walk(bowl, start, setting, 30 * round(1 / (1 - expected))))
        assert 0.6 < (1 - factor) / (1 - expected) < 1.05
    assert count_steps(bowl, start, heavy) < count_steps(bowl, start, plain)


def test_theory_is_reached_at_its_own_rates() -> None:
    k, start = 100, np.array([3.0, 1.0])
    plain = walk(BOWLS[k], start, Setting("plain descent", 2 / (1 + 1 / k)), 500)
    assert shrink(BOWLS[k], plain) == pytest.approx(theory("plain descent", k), abs=2e-3)
    root = 1 / math.sqrt(k)
    ideal = Setting("heavy ball", 4 / (1 + root) ** 2, ((1 - root) / (1 + root)) ** 2)
    heavy = walk(BOWLS[k], start, ideal, 150)
    # Two equal roots: the distance shrinks like steps * factor ** steps, so the end counts.
    assert shrink(BOWLS[k], heavy[75:]) == pytest.approx(theory("heavy ball", k), abs=0.015)


def test_no_tuned_rate_lies_at_the_end_of_the_grid() -> None:
    for surface in SURFACES:
        for rule in RULES:
            assert RATES[0] < tune(rule, surface).lr < RATES[-1], (surface.name, rule)


def test_momentum_and_adam_are_faster_in_long_valleys() -> None:
    steps = {rule: [measure_rule(rule, seed) for seed in range(1, 8)] for rule in RULES}
    for name in ("steps/k100", "steps/k1000", "steps/mlp"):
        plain, heavy, adam = (
            np.median([each[name] for each in steps[rule]])
            for rule in ("plain descent", "heavy ball", "adam")
        )
        assert heavy < 0.5 * plain
        assert adam < 0.7 * plain
    assert all(each["steps/k1"] == 1 for each in steps["plain descent"])
    assert measure_rule("too large", 1) == {}


def test_steps_count_until_the_loss_stays_below_the_target() -> None:
    bowl, start = BOWLS[1], np.array([2.0, 0.0])
    assert count_steps(bowl, start, Setting("plain descent", 0.5)) == 4  # 1/16 of the distance
    assert count_steps(bowl, start, Setting("plain descent", 3.0)) == 2000  # diverges
    assert zigzag(walk(bowl, start, Setting("plain descent", 1.5), 10)) == 1
    assert zigzag(walk(bowl, start, Setting("plain descent", 0.5), 10)) == 0


def test_the_trained_variants_have_the_rates_that_tuning_finds_on_their_bowl() -> None:
    file = yaml.safe_load((LESSONS / "gradient_descent" / "lesson.yaml").read_text())
    config = configure(
        "data=line", "data.seed=1", "data.splits.seed=1", "model=linear", "model.standardise=false"
    )
    data = build_data(config)
    model = make_model(config, data)
    assert isinstance(model, Linear)
    squares = solve(model, data)
    line = Surface(
        name="line",
        loss=squares.excess_loss,
        gradient=lambda at: (at - squares.solution) @ squares.hessian,
        start=lambda rng: np.full(2, -1.5),
        minimum=squares.solution,
    )
    for rule in RULES:
        options = dict(each.split("=") for each in file["variants"][rule])
        tuned = tune(rule, line)
        assert float(options["optimizer.lr"]) == pytest.approx(tuned.lr, abs=0.005)
        assert float(options.get("optimizer.momentum", 0)) == tuned.momentum
