"""Several devices: two processes match a single one, and a dead process ends the run."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import TINY, configure
from processes import start, wait_for_line
from torch import nn

from project.config.build import build_data
from project.core.errors import UserError
from project.tracking.find import find_run
from project.train import train
from project.training.devices import choose_devices, choose_precision, make_model
from project.training.results import FitResult

# 179 samples of val can't be divided by two; dropout and augmentation are on.
SETTINGS = (
    "model.norm=none",
    "model.width=8",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
    "data.splits.train=0.6005",
    "data.splits.val=0.0995",
)


@pytest.fixture(scope="module")
def pair(train_run: Callable[..., FitResult]) -> tuple[FitResult, FitResult]:
    return train_run(*SETTINGS, "trainer.devices=1"), train_run(
        *SETTINGS, "trainer.devices=2", "trainer.accelerator=cpu"
    )


def test_two_processes_log_one_run_equal_to_that_of_one(pair: tuple[FitResult, FitResult]) -> None:
    one, two = (find_run(result.run_id) for result in pair)
    assert len(build_data(one.config()).val) == 179
    assert two.mlflow_run.info.status == "FINISHED"
    steps, _ = one.history("train/loss")
    assert len(steps) == 2 * 16
    for key in ("train/loss", "train/loss_epoch", "val/loss", "train/grad_norm", "gap/loss"):
        two_steps, values = two.history(key)
        assert two_steps.tolist() == one.history(key)[0].tolist(), key
        np.testing.assert_allclose(values, one.history(key)[1], atol=1e-5, rtol=1e-5, err_msg=key)
    for key in ("val/accuracy", "val/f1", "train/accuracy"):
        np.testing.assert_allclose(two.history(key)[1], one.history(key)[1], atol=1e-6)
    assert len(find_runs_of(two.id)) == 1


def find_runs_of(run_id: str) -> list[str]:
    run = find_run(run_id)
    start = run.mlflow_run.info.start_time
    runs = run.client.search_runs([run.experiment_id], f"attributes.start_time >= {start}")
    devices = [f for f in runs if f.data.params.get("trainer.devices") == "2"]
    return [f.info.run_id for f in devices if f.info.start_time <= run.mlflow_run.info.end_time]


def test_the_weights_of_both_are_equal(pair: tuple[FitResult, FitResult]) -> None:
    one, two = (
        torch.load(find_run(result.run_id).last_checkpoint, weights_only=True)["state_dict"]
        for result in pair
    )
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4)


def test_a_dead_process_ends_the_run_as_failed(tmp_path: Path) -> None:
    arguments = ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_epochs=500")
    errors = tmp_path / "errors"
    process = start(["train", *TINY[:1], *arguments], errors)
    wait_for_line("epoch   2/", process, errors)
    ranks = [
        child
        for child in psutil.Process(process.pid).children()
        if any("spawn_main" in part for part in child.cmdline())
    ]
    assert len(ranks) == 2, errors.read_text()
    ranks[1].kill()
    died = time.monotonic()
    process.join(60)
    assert process.exitcode == 1
    assert time.monotonic() - died < 60
    message = errors.read_text().splitlines()[-1]
    assert message == "error: a training process died: rank 1, SIGKILL"
    run = find_run("last")
    assert run.mlflow_run.info.status == "FAILED"
    assert len(run.history("val/loss")[0]) >= 2
    assert not psutil.pid_exists(ranks[0].pid) or not ranks[0].is_running()


@pytest.mark.slow
def test_a_loss_that_is_nan_in_a_process_is_said_by_the_command() -> None:
    from project.core.errors import TrainingError

    with pytest.raises(TrainingError, match=r"^train/loss is \S+ at step \d+ \(epoch 1\)"):
        train(
            configure(
                "data=diabetes", "optimizer.lr=1e30", "trainer.devices=2", "trainer.accelerator=cpu"
            )
        )


def test_a_batch_that_the_devices_can_not_share_is_a_mistake_of_the_user() -> None:
    config = configure(*TINY, "data.batch_size=63", "trainer.devices=2", "trainer.accelerator=cpu")
    with pytest.raises(UserError, match=r"^data\.batch_size: 63: expected a multiple of the 2 dev"):
        train(config)


def test_precision_is_bf16_for_convolutions_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = configure().trainer
    devices = choose_devices(configure("trainer.accelerator=cpu").trainer)
    convolution, linear = nn.Conv2d(1, 1, 3), nn.Linear(1, 1)
    for has_bf16 in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has_bf16: has)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        expected = "bf16-mixed" if has_bf16 else "32-true"
        assert choose_precision(settings, convolution, devices) == expected
        assert choose_precision(settings, linear, devices) == "32-true"
    fixed = configure("trainer.precision=32-true").trainer
    assert choose_precision(fixed, convolution, devices) == "32-true"


def test_convolutions_are_laid_out_channels_last() -> None:
    config = configure("data=digits", "model.width=16")
    data = build_data(config)
    model = make_model(config, data)
    weights = [p for p in model.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    inputs, _ = next(iter(data.train_dataloader()))
    assert model.scale(inputs).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
def test_a_gpu_is_taken_where_there_is_one(train_run: Callable[..., FitResult]) -> None:
    assert choose_devices(configure().trainer).accelerator == "gpu"
    result = train_run(*TINY, "trainer.devices=1", "trainer.accelerator=gpu")
    assert result.score > 0.2


@pytest.mark.gpu
def test_the_same_run_on_a_gpu_has_the_same_result() -> None:
    overrides = (*TINY, "trainer.devices=1", "trainer.accelerator=gpu")
    first, second = (find_run(train(configure(*overrides)).run_id) for _ in range(2))
    assert first.history("train/loss")[1].tolist() == second.history("train/loss")[1].tolist()
