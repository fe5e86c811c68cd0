"""A worker process: trains the jobs that the pool sends, one after another."""

import gc
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import parent_process
from time import perf_counter
from typing import Any, Literal

import psutil
import torch

from project.config.check import check
from project.core.errors import Pruned
from project.core.signals import Stopped, stoppable
from project.tracking.run import describe
from project.train import train
from project.training.results import FitResult

Status = Literal["complete", "pruned", "failed", "stopped", "died"]


@dataclass(frozen=True)
class Job:
    """A run to train.

    Attributes:
        name: Key that identifies the job among those of its owner.
        config: Config of the run, not checked yet; a mistake in it makes the job fail.
        tags: Tags of the run.
        resume: Id of the interrupted run to resume; None starts a new run.
        log_model: Whether to save the model file and the figures.
        is_pruned: Whether the pool decides after every epoch if the run stops there.
    """

    name: Any
    config: dict[str, Any]
    tags: dict[str, str]
    resume: str | None = None
    log_model: bool = True
    is_pruned: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: ``died`` if the worker process ended, ``stopped`` if the pool stopped it.
        reason: Why the job is not ``complete``; empty if it is.
        result: Result of a complete run; None otherwise.
        exit_code: Exit code of a worker that died, negative for a signal; None if unknown.
        seconds: Duration of the job.
        memory: Main memory of the worker after the job, in bytes.
    """

    status: Status
    reason: str = ""
    result: FitResult | None = None
    exit_code: int | None = None
    seconds: float = 0.0
    memory: int = 0


class PoolDecision:
    """Lets the pool decide whether a run stops; can be pickled for the first of several ranks.

    Args:
        connection: Connection to the pool.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, epoch: int, score: float) -> bool:
        """Sends the score of an epoch, from 1, and returns the pool's decision."""
        try:
            self._connection.send((epoch, score))
            return bool(self._connection.recv())
        except (EOFError, OSError):  # the pool is gone: `_follow_parent` ends this process
            return False


def never_stop(epoch: int, score: float) -> bool:
    """Lets a run train to its end, without printing its epochs."""
    return False


def work(connection: Connection, environment: dict[str, str], num_threads: int) -> None:
    """Trains jobs from the connection until it is closed or a job is stopped.

    Args:
        connection: Connection to the pool.
        environment: All environment variables of this process.
        num_threads: Number of threads for torch.
    """
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(num_threads)
    # Ctrl-C in a terminal reaches every process; the pool decides which workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    gc.collect()
    gc.freeze()  # imported modules stay, so the collector needn't visit them after each job
    while True:
        try:
            job: Job = connection.recv()
            outcome = _train(job, connection)
            gc.collect()  # a Trainer, its model and its optimiser form reference cycles
            connection.send(outcome)
        except (EOFError, OSError):
            return
        if outcome.status == "stopped":
            return


def _train(job: Job, connection: Connection) -> Outcome:
    started = perf_counter()
    result, reason = None, ""
    status: Status = "complete"
    should_stop = PoolDecision(connection) if job.is_pruned else never_stop
    try:
        with stoppable():
            result = train(
                check(job.config),
                job.resume,
                job.tags,
                should_stop=should_stop,
                log_model=job.log_model,
            )
    except Pruned as pruned:
        status, reason = "pruned", str(pruned)
    except Stopped as stopped:
        status, reason = "stopped", describe(stopped)
    except Exception as error:  # errors of torch or of the user's model fail the job, not the pool
        status, reason = "failed", describe(error)
    memory = psutil.Process().memory_info().rss
    return Outcome(status, reason, result, seconds=perf_counter() - started, memory=memory)


def _follow_parent() -> None:
    """Stops this process like Ctrl-C when its parent process is gone."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
