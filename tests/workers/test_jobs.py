"""The restart policy: which jobs are restarted, and how their runs are closed."""

import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from project.tracking.store import checkpoint_folder
from project.workers.jobs import MAX_RESTARTS, train_all, train_jobs
from project.workers.pool import Pool
from project.workers.worker import Job, Outcome

KILLED = Outcome("died", "its worker was killed by SIGKILL", exit_code=-signal.SIGKILL)
UNKNOWN = Outcome("died", "its worker died with exit code 255", exit_code=None)
CRASHED = Outcome("died", "its worker was killed by SIGSEGV", exit_code=-signal.SIGSEGV)
EXITED = Outcome("died", "its worker died with exit code 3", exit_code=3)
FAILED = Outcome("failed", "UserError: model.width: 0")
COMPLETE = Outcome("complete")


class FakePool(Pool):
    """Ends jobs with given outcomes, without processes."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = deque(outcomes)
        self.started: list[Job] = []

    def run(self, next_job: Callable[[], Job | None], on_end: Any, *callbacks: Any) -> None:
        while (job := next_job()) is not None:
            self.started.append(job)
            on_end(job, self.outcomes.popleft())


class OneJob:
    """One job whose run is always ``run-1``."""

    def __init__(self) -> None:
        self.waiting = [Job("job", {}, {"mlflow.runName": "trial 0"})]
        self.num_deaths = 0
        self.ended: list[Outcome] = []

    def take(self) -> Job | None:
        return self.waiting.pop() if self.waiting else None

    def put_back(self, job: Job) -> None:
        self.waiting.append(job)

    def count_deaths(self, job: Job) -> int:
        self.num_deaths += 1
        return self.num_deaths

    def find_run(self, name: str) -> str | None:
        return "run-1"

    def end(self, job: Job, outcome: Outcome) -> None:
        self.ended.append(outcome)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Runs that were closed: id, status and reason."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr("project.workers.jobs.close_run", lambda *call: calls.append(call))
    return calls


@pytest.mark.parametrize("death", [KILLED, UNKNOWN])
def test_a_killed_run_is_resumed_until_it_was_restarted_too_often(
    death: Outcome, closed: list[tuple[str, ...]]
) -> None:
    pool, jobs = FakePool(*[death] * (MAX_RESTARTS + 1)), OneJob()
    train_jobs(pool, jobs)
    assert [job.resume for job in pool.started] == [None, *["run-1"] * MAX_RESTARTS]
    interrupted = ("run-1", "KILLED", f"interrupted: {death.reason}")
    assert closed == [*[interrupted] * MAX_RESTARTS, ("run-1", "FAILED", death.reason)]
    assert jobs.ended == [death]


@pytest.mark.parametrize("outcome", [CRASHED, EXITED, FAILED])
def test_a_run_that_fails_by_itself_is_not_restarted(
    outcome: Outcome, closed: list[tuple[str, ...]]
) -> None:
    pool, jobs = FakePool(outcome), OneJob()
    train_jobs(pool, jobs)
    assert len(pool.started) == 1
    assert closed == [("run-1", "FAILED", outcome.reason)]
    assert jobs.ended == [outcome]


def test_a_restarted_run_may_still_complete(closed: list[tuple[str, ...]]) -> None:
    jobs = OneJob()
    train_jobs(FakePool(KILLED, COMPLETE), jobs)
    assert jobs.ended == [COMPLETE]
    assert [status for _, status, _ in closed] == ["KILLED"]


@pytest.mark.parametrize("gets_further", [True, False])
def test_a_job_of_a_list_is_given_up_only_when_killed_too_often_after_the_same_epoch(
    gets_further: bool, own_store: Path, closed: list[tuple[str, ...]]
) -> None:
    class Training(FakePool):
        def run(self, next_job: Callable[[], Job | None], on_end: Any, *callbacks: Any) -> None:
            checkpoint = checkpoint_folder("run-1") / "last.ckpt"
            checkpoint.parent.mkdir(parents=True)
            while (job := next_job()) is not None:
                self.started.append(job)
                checkpoint.touch()
                seconds = len(self.started) if gets_further else 1
                os.utime(checkpoint, (seconds, seconds))
                on_end(job, self.outcomes.popleft())

    pool = Training(*[KILLED] * (MAX_RESTARTS + 1), COMPLETE)
    job = Job("job", {}, {"mlflow.runName": "trial 0, seed 1"}, resume="run-1")
    train_all(pool, [job], dict, "one run")
    assert len(pool.started) == MAX_RESTARTS + (2 if gets_further else 1)
    assert [status for _, status, _ in closed] == [
        *["KILLED"] * MAX_RESTARTS,
        "KILLED" if gets_further else "FAILED",
    ]


def test_a_stopped_job_is_put_back(closed: list[tuple[str, ...]]) -> None:
    class Stopping(FakePool):
        def run(self, next_job: Callable[[], Job | None], on_end: Any, *callbacks: Any) -> None:
            self.started.append(next_job() or pytest.fail("no job"))
            raise KeyboardInterrupt

        def stop(self, on_end: Any) -> None:
            on_end(self.started[0], Outcome("stopped", "Stopped: SIGINT"))

    jobs = OneJob()
    with pytest.raises(KeyboardInterrupt):
        train_jobs(Stopping(), jobs)
    assert len(jobs.waiting) == 1
    assert not jobs.ended
    assert not closed
