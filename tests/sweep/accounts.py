"""Helpers that run a sweep and check that Optuna and MLflow agree on it."""

import io
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import optuna
from conftest import use_store
from optuna.trial import FrozenTrial, TrialState

import project
from project.core.errors import TrainingError, UserError
from project.sweep.command import show
from project.sweep.command import sweep as run_sweep
from project.sweep.plan import read_plan
from project.tracking.find import RunInfo, children
from project.tracking.run import Run

# One trial takes a second or two.
TINY = (
    "search=default",
    "model.width=8",
    "trainer.max_epochs=4",
    "data.limit_train=320",
    "sweep.seeds=2",
    "sweep.top_k=2",
)


def start(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    """Starts a sweep with its store in a folder, in its own process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "project", "sweep", *TINY, *overrides],
        cwd=project.ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def sweep(folder: Path, *overrides: str) -> tuple[int, str]:
    """Runs a sweep in this process; returns its exit code and output."""
    output = io.StringIO()
    with use_store(folder), redirect_stdout(output), redirect_stderr(output):
        try:
            show(run_sweep(**read_plan([*TINY, *overrides])))
        except (UserError, TrainingError) as error:
            print(f"error: {error}")
            return 2 if isinstance(error, UserError) else 1, output.getvalue()
    return 0, output.getvalue()


@dataclass(frozen=True)
class Swept:
    folder: Path
    output: str
    study: optuna.Study
    parent: Run

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def runs(self) -> dict[int, RunInfo]:
        """The run of each trial, by number."""
        runs = [run for run in children(self.parent) if "sweep.trial" in run.tags]
        by_number = {int(run.tags["sweep.trial"]): run for run in runs}
        assert len(by_number) == len(runs)
        return by_number


@contextmanager
def opened(
    folder: Path, output: str = "", name: str = "digits-cnn", url: str = ""
) -> Iterator[Swept]:
    """Opens a study and its parent run."""
    study = optuna.load_study(study_name=name, storage=url or f"sqlite:///{folder / 'optuna.db'}")
    with use_store(folder):
        yield Swept(folder, output, study, Run(study.user_attrs["parent"]))


def check_accounts(swept: Swept) -> None:
    """Checks that Optuna and MLflow agree on every trial and that no run is RUNNING."""
    runs = swept.runs
    assert sorted(runs) == [trial.number for trial in swept.trials]
    for trial in swept.trials:
        run = runs[trial.number]
        if trial.state == TrialState.COMPLETE:
            assert run.status == "FINISHED"
            assert "pruned" not in run.tags
            assert run.metrics["best/accuracy"] == trial.value
        elif trial.state == TrialState.PRUNED:
            assert run.status == "KILLED"
            assert run.tags["pruned"].startswith("epoch ")
            assert "failure" not in run.tags
        else:
            assert trial.state == TrialState.FAIL
            assert run.status == "FAILED"
            assert run.tags["failure"]
        params = Run(run.id).mlflow_run.data.params
        for key, value in trial.params.items():
            assert params.get(key, str(value)) == str(value)
    for run in children(swept.parent):
        assert run.status != "RUNNING"


def states(swept: Swept) -> Counter[str]:
    return Counter(trial.state.name for trial in swept.trials)


def make_command(output: str) -> str:
    return re.findall(r"^  (make train .*)$", output, re.M)[0]
