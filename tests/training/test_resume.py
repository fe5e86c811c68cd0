"""Interrupted runs: their status, and bit-identical results once they are resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, configure, use_store
from mlflow import MlflowClient
from processes import start, wait_for_line
from torch import Tensor

import project
from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.core.errors import TrainingError, UserError
from project.core.signals import Stopped
from project.data.digits import digits
from project.data.source import Source
from project.models.base import Model
from project.models.tasks import Classifier
from project.tracking.find import find_run
from project.tracking.run import Run
from project.tracking.store import open_store
from project.train import train
from project.training.results import FitResult

# All stateful parts: weight averaging, patience, schedule, augmentation, dropout.
STATEFUL = (
    "model.width=8",
    "trainer.max_epochs=8",
    "trainer.ema_decay=0.9",
    "trainer.patience=7",
    "trainer.gradient_clip=1.0",
    "scheduler=onecycle",
    "augment=full",
    "data.limit_train=640",
    "penalty=l2",
)


def interrupt(signum: int, after: str, folder: Path, *overrides: str) -> tuple[int | None, str]:
    """Trains, sends a signal once a line is printed, and returns the exit code and run id."""
    before = {p.name for p in checkpoints()}
    process = start(["train", *overrides], folder / "errors")
    wait_for_line(after, process, folder / "errors")
    assert process.pid is not None
    os.kill(process.pid, signum)
    process.join(60)
    (new,) = {p.name for p in checkpoints()} - before
    assert "epoch   8/8" not in (folder / "errors").read_text(), "it was too fast to interrupt"
    return process.exitcode, new


def checkpoints() -> list[Path]:
    store = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")).parent
    return list((store / "checkpoints").glob("*"))


def weights(run: Run) -> dict[str, Tensor]:
    checkpoint = torch.load(run.last_checkpoint, weights_only=True)
    assert checkpoint["epoch"] == 7
    return {**checkpoint["state_dict"], **checkpoint["current_model_state"]}


@pytest.mark.parametrize(
    ("signum", "status"),
    [
        (signal.SIGKILL, "RUNNING"),
        (signal.SIGTERM, "KILLED"),
        pytest.param(signal.SIGINT, "KILLED", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_with_bit_identical_weights(
    signum: int,
    status: str,
    train_run: Callable[..., FitResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    undisturbed = find_run(train_run(*STATEFUL).run_id)
    code, run_id = interrupt(signum, "epoch   3/8", tmp_path, *STATEFUL)
    assert code == (-signum if signum == signal.SIGKILL else 128 + signum)
    run = find_run(run_id)
    assert run.mlflow_run.info.status == status
    if status == "KILLED":
        assert len(run.history("val/loss")[0]) >= 3  # flushed before it ended
        assert run.mlflow_run.data.tags["failure"].startswith("Stopped: ")
    assert main(["train", f"resume={run_id}"]) == 0
    assert run_id in capsys.readouterr().out
    finished = run.mlflow_run
    assert finished.info.status == "FINISHED"
    assert "failure" not in finished.data.tags
    expected = weights(undisturbed)
    for name, value in weights(run).items():
        assert torch.equal(value, expected[name]), name
    for key in ("train/loss", "train/lr", "val/accuracy", "epoch"):
        steps, values = run.history(key)
        expected_steps, expected_values = undisturbed.history(key)
        assert steps.tolist() == expected_steps.tolist(), key
        assert values.tolist() == expected_values.tolist(), key
    # Apart from its duration, the resumed run is indistinguishable from an uninterrupted one.
    assert (
        finished.data.metrics["best/accuracy"]
        == undisturbed.mlflow_run.data.metrics["best/accuracy"]
    )


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("data.num_workers=2",), id="loader workers", marks=pytest.mark.slow),
        pytest.param(
            ("trainer.devices=2", "trainer.accelerator=cpu"),
            id="two devices",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ctrl_c_in_a_terminal_reaches_all_processes_and_leaves_one_line(
    overrides: tuple[str, ...], own_store: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "project", "train", "trainer.max_epochs=200", *overrides],
        cwd=project.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("epoch   2/"))
        group = os.getpgid(process.pid)
        os.killpg(group, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGINT
    assert "\nstopped by SIGINT\n" in f"\n{rest}"
    assert "Traceback" not in rest
    for _ in range(50):  # Python's own helper processes take a moment to follow
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("a process was left behind")
    run = find_run("last")
    assert run.mlflow_run.info.status == "KILLED"
    assert len(run.history("val/loss")[0]) >= 2


def test_the_best_epoch_survives_a_moved_store(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    overrides = ("data=line", "trainer.max_epochs=40", "optimizer.lr=0.5")
    with use_store(old):
        result = train(configure(*overrides))
        run = find_run(result.run_id)
        checkpoint = torch.load(run.best_checkpoint, weights_only=True)
        assert checkpoint["epoch"] + 1 == result.best_epoch < 30
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("project.models.base.Model.on_train_epoch_start", stop_in_epoch(35))
            with pytest.raises(RuntimeError, match="stopped"):
                train(configure(*overrides))
    old.rename(new)
    with use_store(new):
        again = train(configure(*overrides), resume=find_run("last").id)
        assert again.score == result.score
        assert again.best_epoch == result.best_epoch
        best = torch.load(find_run("last").best_checkpoint, weights_only=True)
        for name, value in checkpoint["state_dict"].items():
            assert torch.equal(best["state_dict"][name], value)


def stop_in_epoch(epoch: int) -> Callable[[Model], None]:
    original = Model.on_train_epoch_start

    def hook(self: Model) -> None:
        if self.trainer.current_epoch == epoch:
            raise RuntimeError("stopped")
        original(self)

    return hook


@pytest.mark.parametrize("signum", [signal.SIGTERM])
def test_a_run_that_is_stopped_before_training_is_killed(signum: int, own_store: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("project.tracking.lineage.packages", lambda: os.kill(os.getpid(), signum))
        with pytest.raises(Stopped):
            train(configure(*TINY))
    run = find_run("last")
    assert run.mlflow_run.info.status == "KILLED"
    assert not run.has_start
    assert train(configure(*TINY), resume=run.id).run_id == run.id
    assert run.has_start


def test_a_run_killed_in_its_first_epoch_restarts_under_the_same_id(own_store: Path) -> None:
    config = configure(*TINY)
    with pytest.MonkeyPatch.context() as patch:
        fail_after(patch, steps=3)
        with pytest.raises(RuntimeError):
            train(config)
    (folder,) = checkpoints()
    assert not (folder / "last.ckpt").exists()
    assert train(config, resume=folder.name).run_id == folder.name


def fail_after(patch: pytest.MonkeyPatch, steps: int, value: float | None = None) -> None:
    """Makes the training loss raise, or return ``value``, after some steps."""
    original, count = Classifier.loss, 0

    def loss(self: Classifier, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal count
        count += self.training
        result = original(self, outputs, inputs, targets)
        if count <= steps or not self.training:
            return result
        if value is None:
            raise RuntimeError("no memory left")
        return result * value

    patch.setattr(Classifier, "loss", loss)


def test_an_exception_ends_the_run_as_failed_with_its_reason(own_store: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fail_after(patch, steps=7)
        with pytest.raises(RuntimeError, match="no memory left"):
            train(configure(*TINY))
    run = find_run("last")
    assert run.mlflow_run.info.status == "FAILED"
    assert run.mlflow_run.data.tags["failure"] == "RuntimeError: no memory left"
    assert run.history("train/loss")[0].tolist() == list(range(1, 8))


def test_a_nan_loss_reports_its_step_and_keeps_the_last_good_checkpoint(own_store: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fail_after(patch, steps=7, value=float("nan"))
        with pytest.raises(TrainingError, match=r"train/loss is nan at step 8 \(epoch 2\)"):
            train(configure(*TINY))
    run = find_run("last")
    assert run.mlflow_run.info.status == "FAILED"
    assert "nan at step 8" in run.mlflow_run.data.tags["failure"]
    for path in (run.last_checkpoint, run.best_checkpoint):
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["epoch"] == 0
        assert all(torch.isfinite(v).all() for v in checkpoint["state_dict"].values())


def test_a_loss_that_diverges_is_a_failed_run_and_exit_code_1(
    own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("data=diabetes", "optimizer.lr=1e30", "trainer.max_epochs=5")
    assert main(["train", *arguments]) == 1
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("error: train/loss is ")
    assert find_run("last").mlflow_run.info.status == "FAILED"


def test_resuming_an_early_stopped_run_trains_no_further(own_store: Path) -> None:
    overrides = ("data=line", "trainer.max_epochs=60", "trainer.patience=2", "optimizer.lr=0.5")
    result = train(configure(*overrides))
    assert result.num_epochs < 60
    assert result.num_epochs - result.best_epoch == 2
    run = find_run(result.run_id)
    run.client.update_run(run.id, status="RUNNING")  # as if killed before it was closed
    again = train(configure(*overrides), resume=run.id)
    assert (again.num_epochs, again.score) == (result.num_epochs, result.score)


def test_a_finished_run_is_not_resumed(digits_run: FitResult) -> None:
    with pytest.raises(UserError, match=r"^resume: \w+: it is FINISHED: expected"):
        call(COMMANDS["train"], [f"resume={digits_run.run_id}"])


def test_a_run_that_is_being_trained_is_not_resumed(digits_run: FitResult) -> None:
    run = find_run(digits_run.run_id)
    message = "being trained right now"
    with run.open(), pytest.raises(UserError, match=message), Run(run.id).open():
        pass


@pytest.mark.parametrize("change", ["optimizer.lr=0.5", "model.width=16", "model=mlp", "seed=9"])
def test_a_resumed_run_keeps_its_config(change: str, interrupted: Run) -> None:
    key = change.partition("=")[0]
    with pytest.raises(UserError, match=rf"^{key}[\w.]*: .*expected .*, the value of the res"):
        call(COMMANDS["train"], [f"resume={interrupted.id}", change])
    assert interrupted.mlflow_run.info.status == "KILLED"


def test_a_run_whose_data_have_changed_is_not_resumed(
    interrupted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(image_size: int = 8) -> Source:
        source = digits(image_size)
        source.inputs[5, 0, 0, 0] ^= 1
        return source

    monkeypatch.setattr("project.data.digits.digits", changed)
    changed.__module__ = "project.data.digits"
    with pytest.raises(UserError, match=r"^run: \w+: its data have changed"):
        call(COMMANDS["train"], [f"resume={interrupted.id}"])


@pytest.fixture
def interrupted(digits_run: FitResult) -> "Run":
    run = find_run(digits_run.run_id)
    run.client.set_terminated(run.id, "KILLED")
    yield run  # type: ignore[misc]
    run.client.set_terminated(run.id, "FINISHED")


def test_a_stop_while_a_run_is_created_closes_it(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = MlflowClient.create_run

    def stopped(self: MlflowClient, *arguments: Any, **options: Any) -> Any:
        made = create(self, *arguments, **options)
        signal.raise_signal(signal.SIGTERM)  # the run is stored, but its id is not returned yet
        return made

    monkeypatch.setattr(MlflowClient, "create_run", stopped)
    with pytest.raises(Stopped):
        train(configure(*TINY))
    client, experiment_id = open_store()
    (run,) = client.search_runs([experiment_id])
    assert run.info.status == "KILLED"
