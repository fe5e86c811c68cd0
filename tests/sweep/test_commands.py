"""The commands around a sweep: mistakes, a time limit, trials that fail, and the dashboard."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import configure
from optuna.trial import TrialState
from sweep.accounts import TINY, Swept, check_accounts, opened, states, sweep

import project
from project.core.errors import UserError
from project.sweep.command import sweep as run_sweep
from project.sweep.plan import read_plan
from project.sweep.winner import make_command


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.trials=0"], "sweep.trials: 0: expected"),
        (["+search.optimizer.lrr.choices=[1,2]"], "did you mean 'lr'"),
        (["search.optimizer.lr.low=1"], "search.optimizer.lr: low 1, high 0.1: expected low < "),
        (["sweep.devices_per_trial=999"], "sweep.devices_per_trial: 999: expected at most"),
        (["trainer.devices=2"], "trainer.devices: 2: expected auto"),
        (["sweep.storage=nonsense"], "sweep.storage: nonsense: can't be opened"),
        (["data=diabetes", "model=cnn"], "needs images"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(
    overrides: list[str], message: str, own_store: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run_sweep(**read_plan([*TINY, *overrides]))
    assert message in str(caught.value)
    assert list(own_store.iterdir()) == []


def test_after_the_time_limit_no_trial_begins_and_what_there_is_is_reported(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, "sweep.trials=500", "sweep.timeout=0.06", "sweep.top_k=0")
    assert code == 0, output
    with opened(tmp_path, output) as swept:
        assert 1 <= len(swept.trials) < 100
        check_accounts(swept)
    assert "registered as digits-cnn" in output


def test_failed_trials_are_failed_runs_and_not_the_end(tmp_path: Path) -> None:
    rates = "+search.optimizer.lr.choices=[0.002,0.004,1e+30,1e+31]"
    code, output = sweep(
        tmp_path,
        *("~search.optimizer", "~search.model", rates, "optimizer=sgd", "sweep.sampler=grid"),
        *("sweep.pruner=none", "sweep.top_k=1", "sweep.seeds=1"),
    )
    assert code == 0, output
    with opened(tmp_path, output) as swept:
        assert states(swept) == {"COMPLETE": 2, "FAIL": 2}  # the grid has four points
        check_accounts(swept)
        for trial in swept.trials:
            is_wild = trial.params["optimizer.lr"] > 1
            assert (trial.state == TrialState.FAIL) == is_wild
            if is_wild:
                assert "train/loss is " in swept.runs[trial.number].tags["failure"]
    assert len(re.findall(r"failed: TrainingError: train/loss is ", output)) == 2
    assert "was not compared with another setting" in output


def test_if_every_trial_fails_the_sweep_says_so(tmp_path: Path) -> None:
    rates = "+search.optimizer.lr.choices=[1e+30,1e+31]"
    code, output = sweep(
        tmp_path,
        *("~search.optimizer", "~search.model", rates, "optimizer=sgd", "sweep.sampler=grid"),
    )
    assert code == 1
    assert output.endswith("error: study digits-cnn: none of its 2 trials is complete\n")
    with opened(tmp_path, output) as swept:
        assert swept.parent.mlflow_run.info.status == "FAILED"
        check_accounts(swept)


def test_the_dashboard_shows_the_study(swept: Swept, free_port: int) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "project", "dashboard", f"port={free_port}"),
            f"storage=sqlite:///{swept.folder / 'optuna.db'}",
        ],
        cwd=project.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            for _ in range(300):
                try:
                    address = f"http://127.0.0.1:{free_port}/api/studies"
                    with urllib.request.urlopen(address, timeout=5) as answer:
                        studies = json.load(answer)["study_summaries"]
                    break
                except OSError:
                    assert server.poll() is None
                    time.sleep(0.1)
            assert [study["study_name"] for study in studies] == ["digits-cnn"]
        finally:
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "Traceback" not in errors


def test_the_printed_command_names_own_data_as_make_takes_them() -> None:
    config = configure("data=images", 'data.root="/a b/it\'s"')
    overrides = ["data=images", 'data.root="/a b/it\'s"', "sweep.trials=3", "augment=none"]
    command = make_command(overrides, config, {"optimizer.lr": 0.1})
    assert shlex.split(command) == [
        "make", "train", "DATA=images", "ROOT=/a b/it's", "SEED=1",
        "ARGS=augment=none optimizer.lr=0.1",
    ]  # fmt: skip
