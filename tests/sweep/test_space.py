"""Search spaces: reading them, and mistakes reported before anything is built."""

import json
import math

import pytest
import yaml
from conftest import configure
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from project.config.build import build_data
from project.config.check import check
from project.config.compose import CONF, compose
from project.core.errors import UserError
from project.sweep.plan import SweepPlan, read_plan
from project.sweep.setup import check_space


def plan(*overrides: str) -> SweepPlan:
    return read_plan(overrides)["plan"]


def check_effects(*overrides: str) -> None:
    read = plan(*overrides)
    check_space(read.space, read.config, build_data(read.config))


def test_the_default_is_lr_weight_decay_and_dropout() -> None:
    assert plan("model=mlp").space.distributions == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
        "model.dropout": FloatDistribution(0.0, 0.6),
    }


def test_a_model_may_bring_its_own() -> None:
    keys = plan().space.distributions
    assert keys["model.width"] == IntDistribution(16, 64, step=16)
    assert "optimizer.lr" in keys
    assert "model.width" not in plan("search=default").space.distributions


def test_a_model_without_dropout_is_searched_without_it() -> None:
    assert set(plan("data=diabetes").space.distributions) == {
        "optimizer.lr",
        "optimizer.weight_decay",
    }
    with pytest.raises(UserError, match=r"^search\.model\.dropout: unknown key"):
        plan("data=diabetes", "search.model.dropout.high=0.3")


def test_bounds_keys_and_removals_from_the_command_line() -> None:
    read = plan(
        "search.optimizer.lr.high=0.3",
        "+search.data.batch_size.choices=[64,128]",
        "~search.model.dropout",
        "+search.augment.affine.rotate.choices=[[-8,8],[-15,15]]",
    )
    config, space = read.config, read.space
    assert space.distributions["optimizer.lr"] == FloatDistribution(1e-4, 0.3, log=True)
    assert space.distributions["data.batch_size"] == CategoricalDistribution((64, 128))
    assert "model.dropout" not in space.distributions
    params = {"data.batch_size": 128, "augment.affine.rotate": "[-15, 15]"}
    node = space.apply(config, params)
    assert node["data"]["batch_size"] == 128
    assert check(node).augment["affine"]["rotate"] == [-15, 15]
    json.dumps(space.describe())


@pytest.mark.parametrize("model", [file.stem for file in (CONF / "model").glob("*.yaml")])
def test_every_searched_key_changes_what_is_built(model: str) -> None:
    check_effects(f"model={model}", "data.limit_train=200")


@pytest.mark.parametrize(
    "key",
    [
        "data.batch_size.choices=[32,64]",
        "model.depth.choices=[1,2]",
        "model.activation.choices=[relu,gelu]",
        "augment.affine.p.choices=[0.1,0.9]",
        "penalty.l1.choices=[0.0,0.1]",
        "loss.label_smoothing.choices=[0.0,0.1]",
        "scheduler.warmup.choices=[0.1,0.2]",
        "trainer.ema_decay.choices=[null,0.9]",
        "optimizer.eps.choices=[1e-8,1e-3]",
        "optimizer._target_.choices=[torch.optim.Adam,torch.optim.RMSprop]",
    ],
)
def test_keys_of_every_part_are_seen_to_change_something(key: str) -> None:
    check_effects("data.limit_train=200", f"+search.{key}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+search.optimizer.lrr.low=1", "search.optimizer.lrr.high=2"], "did you mean 'lr'?"),
        (["+search.optimiser.lr.low=1", "search.optimiser.lr.high=2"], "did you mean 'optimizer'?"),
        (["+search.model.dropot.choices=[0.1,0.2]"], "search.model.dropot: unknown key"),
        (["search.optimizer.lr.low=0.5"], "search.optimizer.lr: low 0.5, high 0.1: expected low <"),
        (["search.optimizer.lr.low=0"], "search.optimizer.lr.low: 0: expected more than 0"),
        (["search.optimizer.lr.low=a"], "search.optimizer.lr.low: 'a': expected a number"),
        (["search.optimizer.lr.step=0.1"], "search.optimizer.lr.step: 0.1: expected none"),
        (["search.optimizer.lr.stop=0.1"], "search.optimizer.lr.stop: unknown key"),
        (["search.model.dropout.step=0.9"], "search.model.dropout.step: 0.9: expected more than 0"),
        (["search.model.dropout.high=1.0"], "search.model.dropout: 1.0: "),
        (["+search.data.batch_size.choices=[]"], "search.data.batch_size.choices: []: expected a"),
        (["+search.data.batch_size.choices=[64,64]"], "expected a list of two or more values"),
        (["+search.data.batch_size.choices=[64,0]"], "search.data.batch_size: 0: "),
        (["+search.data.batch_size.choices=[5000,6000]"], "has no effect on the training"),
        (["+search.data.num_workers.choices=[0,1]"], ""),
        (
            ["augment=none", "+search.data.num_workers.choices=[0,1]"],
            "has no effect on the training",
        ),
        (["+search.data.splits.seed.choices=[0,1]"], "changes the val split"),
        (["+search.seed.choices=[0,1]"], "search.seed: can't be searched"),
        (["+search.trainer.devices.choices=[1,2]"], "search.trainer.devices: can't be searched"),
        (["search.model=3"], "search.model: 3: expected {low, high, log, step} or {choices}"),
        (["+search.model.dropout.choices=[0.1,0.2]"], "expected choices alone"),
        (["~search.model", "~search.optimizer"], "search: is empty"),
    ],
)
def test_a_mistake_names_the_key(overrides: list[str], message: str) -> None:
    if not message:
        check_effects("search=default", *overrides)
        return
    with pytest.raises(UserError) as caught:
        check_effects("search=default", *overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sweep.trials=0", "sweep.trials: 0: expected greater than or equal to 1"),
        ("sweep.trails=3", "sweep.trails: unknown key: did you mean 'trials'?"),
        ("sweep.sampler=tpa", "sweep.sampler: 'tpa': "),
        ("sweep.pruner=off", "sweep.pruner: "),
        ("sweep.timeout=0", "sweep.timeout: 0: "),
        ("sweep.study='a/b'", "sweep.study: a/b: expected letters"),
        ("search=nothing", "search: nothing: expected one of"),
    ],
)
def test_a_setting_out_of_range_names_it(setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(setting)
    assert str(caught.value).startswith(message)


def test_a_grid_takes_choices_steps_and_as_many_points_as_trials_allow() -> None:
    space = plan("~search.model.dropout", "search.model.width.high=32").space
    grid = space.grid(num_trials=20)
    assert grid["model.width"] == [16, 32]
    assert grid["optimizer.lr"] == pytest.approx([1e-4, math.sqrt(1e-4 * 1e-1), 1e-1])
    assert len(grid["optimizer.weight_decay"]) == 3


def test_an_experiment_may_be_the_config_of_a_run(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = configure("data=line", "optimizer=momentum", "optimizer.lr=0.3")
    file = tmp_path / "best run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump()))
    again = check(compose("train", [f"experiment={file}"]))
    assert again == config
    changed = check(
        compose("train", [f"experiment={file}", "optimizer.lr=0.1", "scheduler=constant"])
    )
    assert changed.optimizer == {**config.optimizer, "lr": 0.1}
    assert changed.scheduler["_target_"].endswith("constant")
    file.write_text("- a list\n")
    with pytest.raises(UserError, match="expected keys and values"):
        compose("train", [f"experiment={file}"])
