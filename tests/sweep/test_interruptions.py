"""Killed workers, killed leaders, Ctrl-C: the same command resumes, and no trial is lost."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState
from sweep.accounts import check_accounts, opened, start, states

from project.tracking.find import children


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Worker processes: the children of the fork server."""
    family = psutil.Process(process.pid).children(recursive=True)
    return [p for p in family if p.ppid() != process.pid and p.is_running()]


def wait_for(process: "subprocess.Popen[str]", beginning: str) -> list[str]:
    """Reads lines until one starts with ``beginning`` or the process ends."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(beginning):
            break
    return lines


def kill_group(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def wait_until_gone(group: int) -> None:
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process was left behind")


def test_ctrl_c_leaves_no_process_and_the_same_command_resumes(tmp_path: Path) -> None:
    arguments = ("sweep.trials=5", "sweep.workers=2", "sweep.top_k=0", "trainer.max_epochs=20")
    with start(tmp_path, *arguments, "sweep.pruner=none") as process:
        wait_for(process, "trial ")
        time.sleep(0.7)  # until the next trial is running
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in output
    assert output.endswith("stopped by SIGINT\n")
    wait_until_gone(process.pid)
    with opened(tmp_path) as swept:
        assert swept.parent.mlflow_run.info.status == "KILLED"
        assert set(states(swept)) <= {"COMPLETE", "WAITING"}
        interrupted = {t.number: t.params for t in swept.trials if t.state == TrialState.WAITING}
        assert interrupted
        for number in interrupted:
            assert swept.runs[number].status == "KILLED"
    with start(tmp_path, *arguments, "sweep.pruner=none") as process:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    with opened(tmp_path) as swept:
        assert states(swept) == {"COMPLETE": 5}
        check_accounts(swept)
        for number, params in interrupted.items():
            assert swept.trials[number].params == params
        assert swept.parent.mlflow_run.info.status == "FINISHED"


def kill_at_random(folder: Path, num_kills: int, seed: int) -> None:
    """Kills random processes until the sweep completes, then checks Optuna against MLflow."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    done: Counter[str] = Counter()
    trials = 8
    while True:
        arguments = (f"sweep.trials={trials}", "sweep.workers=2", "trainer.max_epochs=6")
        with start(folder, *arguments) as process:
            lines = wait_for(process, "study ")
            while process.poll() is None and done.total() < num_kills:
                time.sleep(rng.uniform(0.2, 4))
                victim = rng.choice(["worker", "worker", "leader", "all"])
                workers = workers_of(process) if process.poll() is None else []
                if process.poll() is not None:
                    break
                if victim == "all":
                    os.killpg(process.pid, signal.SIGKILL)
                elif victim == "leader":
                    process.kill()
                elif workers:
                    rng.choice(workers).kill()
                else:
                    continue
                done[victim] += 1
            output, _ = process.communicate(timeout=240)
            output = "".join(lines) + output
        wait_until_gone(process.pid)  # workers of a killed leader stop by themselves
        if process.returncode == 0:
            if done.total() >= num_kills:
                break
            trials += 4  # the sweep finished before enough kills
        else:
            assert process.returncode == -signal.SIGKILL, output
    print(done)
    with opened(folder, output) as swept:
        assert len(swept.trials) == trials
        assert sum(states(swept).values()) == trials
        assert set(states(swept)) <= {"COMPLETE", "PRUNED"}
        check_accounts(swept)
        assert swept.parent.mlflow_run.info.status == "FINISHED"
        again = [run for run in children(swept.parent) if "sweep.retrain" in run.tags]
        assert {run.status for run in again} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_kills(tmp_path: Path) -> None:
    kill_at_random(tmp_path, num_kills=12, seed=random.randrange(10**6))
