"""Trains jobs until each has ended: one restart policy for trials, seeds and variants."""

import signal
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from project.core.console import say
from project.tracking.find import RunInfo
from project.tracking.run import close_run
from project.tracking.store import checkpoint_folder
from project.workers.pool import Pool
from project.workers.worker import Job, Outcome

MAX_RESTARTS = 2  # restarts of a job whose worker is killed again after the same epoch
# The run's own fault: it would crash again.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
Runs = Mapping[Any, RunInfo]  # by job name
Find = Callable[[], Runs]


class Jobs(Protocol):
    """The jobs of one owner, and how far they are."""

    def take(self) -> Job | None:
        """Returns the next job to train; None if there is none now."""

    def put_back(self, job: Job) -> None:
        """Takes back an interrupted job, which ``take`` returns again, now or in a later start."""

    def count_deaths(self, job: Job) -> int:
        """Counts a death of the job's worker; returns how many there were after the same epoch."""

    def find_run(self, name: Any) -> str | None:
        """Returns the id of the run of the job with that name in MLflow; None if there is none."""

    def end(self, job: Job, outcome: Outcome) -> None:
        """Records a job that is complete, pruned or failed, or whose worker died too often."""


def train_jobs(pool: Pool, jobs: Jobs, *callbacks: Callable[..., Any]) -> None:
    """Trains jobs with the callbacks of ``Pool.run``, and restarts those whose worker is killed."""

    def on_end(job: Job, outcome: Outcome) -> None:
        if outcome.status == "stopped":
            jobs.put_back(job)
            return
        if outcome.status in ("failed", "died"):
            code, has_died = outcome.exit_code, outcome.status == "died"
            # Killed from outside, such as by the kernel when memory is short.
            is_killed = has_died and (code is None or (code < 0 and -code not in CRASHES))
            restarts = is_killed and jobs.count_deaths(job) <= MAX_RESTARTS
            run_id = jobs.find_run(job.name) or job.resume
            if run_id is not None:
                status, prefix = ("KILLED", "interrupted: ") if restarts else ("FAILED", "")
                close_run(run_id, status, f"{prefix}{outcome.reason}")
            if restarts:
                jobs.put_back(replace(job, resume=run_id))
                say(f"{job.tags['mlflow.runName']}  interrupted ({outcome.reason}), restarting")
                return
        jobs.end(job, outcome)

    try:
        pool.run(jobs.take, on_end, *callbacks)
    except BaseException:
        pool.stop(on_end)
        raise


class _Unfinished:
    """Jobs of a fixed list without those whose run is FINISHED."""

    def __init__(self, jobs: Sequence[Job], find: Find) -> None:
        self._find = find
        runs = find()
        self._waiting: deque[Job] = deque()
        for job in jobs:
            run = runs.get(job.name)
            if run is None or run.status != "FINISHED":
                self.put_back(replace(job, resume=run.id if run else job.resume))
        self.total, self._num_ended = len(self._waiting), 0
        self._deaths: Counter[Any] = Counter()

    def take(self) -> Job | None:
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, job: Job) -> None:
        self._waiting.append(job)

    def count_deaths(self, job: Job) -> int:
        run_id = self.find_run(job.name) or job.resume
        checkpoint = checkpoint_folder(run_id) / "last.ckpt" if run_id else None
        # The time at which the checkpoint was saved identifies the epoch.
        saved = checkpoint.stat().st_mtime_ns if checkpoint and checkpoint.exists() else 0
        self._deaths[job.name, saved] += 1
        return self._deaths[job.name, saved]

    def find_run(self, name: Any) -> str | None:
        run = self._find().get(name)
        return run.id if run else None

    def end(self, job: Job, outcome: Outcome) -> None:
        self._num_ended += 1
        result, progress = outcome.result, f"[{self._num_ended}/{self.total}]"
        text = f"{result.score_name} {result.score:.4f}" if result else f"failed: {outcome.reason}"
        say(f"{job.tags['mlflow.runName']}  {text}  {outcome.seconds:.0f} s  {progress}")


def train_all(pool: Pool, jobs: Sequence[Job], find: Find, description: str) -> Runs:
    """Trains or resumes each job that isn't FINISHED; returns all runs, which ``find`` lists."""
    unfinished = _Unfinished(jobs, find)
    if unfinished.total:
        say(f"{unfinished.total} of {len(jobs)} runs to train: {description}")
    train_jobs(pool, unfinished)
    return find()


def close_abandoned(runs: Runs) -> None:
    """Closes runs that a killed process has left RUNNING; no other process may be training them."""
    for run in runs.values():
        if run.status == "RUNNING":
            close_run(run.id, "KILLED", "interrupted: its process is gone")
