"""A worker process: trains the jobs that the pool sends, one after another."""

import gc
import os
import signal
import threading
from dataclasses import dataclass, replace
from functools import partial
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


@dataclass(frozen=True)
class Job:
    """A run to train."""

    name: Any  # identifies the job among those of its owner
    config: dict[str, Any]  # not checked yet; a mistake in it makes the job fail
    tags: dict[str, str]
    resume: str | None = None  # id of the interrupted run to resume
    log_model: bool = True  # whether to save the model file and the figures
    is_pruned: bool = False  # whether the pool decides after every epoch if the run stops there


@dataclass(frozen=True)
class Outcome:
    """How a job ended; ``died`` if its worker did, ``stopped`` if the pool stopped it."""

    status: Literal["complete", "pruned", "failed", "stopped", "died"]
    reason: str = ""  # why the job is not complete
    result: FitResult | None = None
    exit_code: int | None = None  # of a worker that died, negative for a signal; None if unknown
    seconds: float = 0.0
    memory: int = 0  # main memory of the worker after the job, in bytes


def work(connection: Connection, environment: dict[str, str], num_threads: int) -> None:
    """Trains the pool's jobs until the connection is closed or a job is stopped."""
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
    should_stop = partial(_ask_pool, connection if job.is_pruned else None)
    try:
        with stoppable():
            options: Any = {"should_stop": should_stop, "log_model": job.log_model}
            result = train(check(job.config), job.resume, job.tags, **options)
        outcome = Outcome("complete", result=result)
    except Pruned as pruned:
        outcome = Outcome("pruned", str(pruned))
    except Stopped as stopped:
        outcome = Outcome("stopped", describe(stopped))
    except Exception as error:  # errors of torch or of the user's model fail the job, not the pool
        outcome = Outcome("failed", describe(error))
    memory = psutil.Process().memory_info().rss
    return replace(outcome, seconds=perf_counter() - started, memory=memory)


def _ask_pool(connection: Connection | None, epoch: int, score: float) -> bool:
    """Whether a run stops after an epoch, counted from 1; without a connection it never does."""
    if connection is None:
        return False
    try:
        connection.send((epoch, score))
        return bool(connection.recv())
    except (EOFError, OSError):  # the pool is gone: `_follow_parent` ends this process
        return False


def _follow_parent() -> None:
    """Stops this process like Ctrl-C when its parent process is gone."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
