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
from project.workers.pool import OnTick, Pool, ShouldPrune
from project.workers.worker import Job, Outcome

MAX_RESTARTS = 2  # restarts of a job whose worker is killed again after the same epoch
# The run's own fault: it would crash again.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

Find = Callable[[], Mapping[Any, RunInfo]]


class Jobs(Protocol):
    """The jobs of one owner, and how far they are."""

    def take(self) -> Job | None:
        """Returns the next job to train; None if there is none now."""

    def put_back(self, job: Job) -> None:
        """Takes back an interrupted job, which ``take`` returns again, now or in a later start."""

    def count_deaths(self, job: Job) -> int:
        """Counts a death of the job's worker; returns how many there were after the same epoch."""

    def find_run(self, job: Job) -> str | None:
        """Returns the id of the job's run in MLflow."""

    def end(self, job: Job, outcome: Outcome) -> None:
        """Records a job that is complete, pruned or failed, or whose worker died too often."""


def train_jobs(
    pool: Pool,
    jobs: Jobs,
    should_prune: ShouldPrune = lambda job, epoch, score: False,
    on_tick: OnTick = lambda running: None,
) -> None:
    """Trains jobs until none is left, and restarts those whose worker is killed.

    Args:
        pool: Workers.
        jobs: Jobs to train.
        should_prune: Decision for jobs that can be pruned; see ``Pool.run``.
        on_tick: Function called once per second; see ``Pool.run``.
    """

    def on_end(job: Job, outcome: Outcome) -> None:
        if outcome.status == "stopped":
            jobs.put_back(job)
            return
        if outcome.status in ("failed", "died"):
            restarts = _is_restarted(outcome, jobs, job)
            run_id = jobs.find_run(job)
            if run_id is not None:
                status, prefix = ("KILLED", "interrupted: ") if restarts else ("FAILED", "")
                close_run(run_id, status, f"{prefix}{outcome.reason}")
            if restarts:
                jobs.put_back(replace(job, resume=run_id))
                say(f"{job.tags['mlflow.runName']}  interrupted ({outcome.reason}), restarting")
                return
        jobs.end(job, outcome)

    try:
        pool.run(jobs.take, on_end, should_prune, on_tick)
    except BaseException:
        pool.stop(on_end)
        raise


def _is_restarted(outcome: Outcome, jobs: Jobs, job: Job) -> bool:
    """Whether a run was interrupted from outside, such as by the kernel when memory is short."""
    if outcome.status != "died":
        return False
    code = outcome.exit_code
    if code is not None and (code >= 0 or -code in CRASHES):
        return False
    return jobs.count_deaths(job) <= MAX_RESTARTS


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
        place = job.name, _last_saved(self.find_run(job))
        self._deaths[place] += 1
        return self._deaths[place]

    def find_run(self, job: Job) -> str | None:
        run = self._find().get(job.name)
        return run.id if run else job.resume

    def end(self, job: Job, outcome: Outcome) -> None:
        self._num_ended += 1
        text = f"failed: {outcome.reason}"
        if outcome.result is not None:
            text = f"{outcome.result.score_name} {outcome.result.score:.4f}"
        say(
            f"{job.tags['mlflow.runName']}  {text}  {outcome.seconds:.0f} s  "
            f"[{self._num_ended}/{self.total}]"
        )


def _last_saved(run_id: str | None) -> int:
    """When a run last ended an epoch, by its checkpoint, in nanoseconds; 0 before the first."""
    file = checkpoint_folder(run_id) / "last.ckpt" if run_id else None
    return file.stat().st_mtime_ns if file is not None and file.exists() else 0


def train_all(
    pool: Pool, jobs: Sequence[Job], find: Find, description: str
) -> Mapping[Any, RunInfo]:
    """Trains each job that isn't FINISHED; interrupted runs resume from their checkpoints.

    Args:
        pool: Workers.
        jobs: All jobs, finished ones included.
        find: Returns the runs that MLflow has, by job name.
        description: Summary of the jobs, printed before the first one.

    Returns:
        All runs afterwards, by job name.
    """
    unfinished = _Unfinished(jobs, find)
    if unfinished.total:
        say(f"{unfinished.total} of {len(jobs)} runs to train: {description}")
    train_jobs(pool, unfinished)
    return find()


def close_abandoned(runs: Mapping[Any, RunInfo]) -> None:
    """Closes runs that a killed process has left RUNNING.

    Args:
        runs: Runs that no other process is training.
    """
    for run in runs.values():
        if run.status == "RUNNING":
            close_run(run.id, "KILLED", "interrupted: its process is gone")
