"""Worker processes that import once and then train one run after another."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Self

import joblib
import torch

from project.training.devices import Devices
from project.workers.preload import start_importing
from project.workers.worker import Job, Outcome, work

STOP_TIMEOUT = 40  # seconds in which a stopped worker must close its run
UNKNOWN = 255  # exit code that `multiprocessing` reports if the fork server was killed

OnEnd = Callable[[Job, Outcome], None]
ShouldPrune = Callable[[Job, int, float], bool]
OnTick = Callable[[list[Job]], None]


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    started: float = 0.0

    @property
    def waitables(self) -> list[Any]:
        # The pipe alone isn't enough: children of a dead worker keep its end open for a while.
        return [self.connection, self.process.sentinel]


class Pool:
    """Trains jobs in worker processes; as a context manager it leaves no process behind.

    Args:
        num_workers: Number of worker processes.
        devices: Devices of each job.
    """

    def __init__(self, num_workers: int, devices: Devices) -> None:
        self.num_workers = num_workers
        self._devices = devices
        self._workers: list[_Worker | None] = [None] * num_workers
        start_importing()
        self._context = multiprocessing.get_context("forkserver")

    def __enter__(self) -> Self:
        return self

    def run(
        self,
        next_job: Callable[[], Job | None],
        on_end: OnEnd,
        should_prune: ShouldPrune = lambda job, epoch, score: False,
        on_tick: OnTick = lambda running: None,
    ) -> None:
        """Trains until no job is left.

        Args:
            next_job: Returns the next job, or None if there is none now; called when a worker is
                idle, about once per second.
            on_end: Called with every job that was started and its outcome.
            should_prune: Called with the epoch and score of jobs that can be pruned; returns
                whether to stop the job there.
            on_tick: Called about once per second with the running jobs.
        """
        while True:
            for index, worker in enumerate(self._workers):
                is_idle = worker is None or worker.job is None
                if is_idle and (job := next_job()) is not None:
                    self._start(index, job)
            busy = self._busy()
            if not busy:
                return
            on_tick([worker.job for worker in busy if worker.job])
            ready = wait([each for worker in busy for each in worker.waitables], timeout=1.0)
            for worker in busy:
                if set(worker.waitables) & set(ready):
                    self._receive(worker, on_end, should_prune)

    def stop(self, on_end: OnEnd) -> None:
        """Stops all running jobs; each closes its run, which can be resumed later."""
        busy = self._busy()
        for worker in busy:
            worker.process.terminate()
        deadline = monotonic() + STOP_TIMEOUT
        for worker in busy:
            while worker.job:
                if not wait(worker.waitables, max(0.0, deadline - monotonic())):
                    worker.process.kill()
                    worker.process.join()
                self._receive(worker, on_end, lambda job, epoch, score: False)

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            if worker:
                self._remove(worker)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker and worker.job]

    def _remove(self, worker: _Worker) -> None:
        self._workers[self._workers.index(worker)] = None
        worker.connection.close()  # an idle worker then exits by itself
        worker.process.join(5)
        if worker.process.pid is not None and worker.process.exitcode in (None, UNKNOWN):
            with suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.join(5)

    def _start(self, index: int, job: Job) -> None:
        worker = self._workers[index]
        if worker is None or not worker.process.is_alive():
            worker = self._workers[index] = self._make_worker(index)
        worker.job, worker.started = job, monotonic()
        with suppress(OSError):  # the worker just died, which `_receive` handles
            worker.connection.send(job)

    def _make_worker(self, index: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        num_threads = max(1, joblib.cpu_count() // self.num_workers)
        process = self._context.Process(
            target=work,
            args=(theirs, self._environment(index), num_threads),
            name=f"worker {index}",
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _environment(self, index: int) -> dict[str, str]:
        """The variables of this process, with only the worker's own GPUs visible."""
        environment = dict(os.environ)  # the fork server may have started before a change
        if self._devices.accelerator != "gpu":
            return environment
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
        first = index * self._devices.count % len(names)
        own = ",".join(names[first : first + self._devices.count])
        return {**environment, "CUDA_VISIBLE_DEVICES": own}

    def _receive(self, worker: _Worker, on_end: OnEnd, should_prune: ShouldPrune) -> None:
        job, message = worker.job, None
        assert job is not None
        with suppress(EOFError, OSError):
            if worker.connection.poll():
                message = worker.connection.recv()
        if message is None:
            self._remove(worker)
            message = _describe_death(worker)
        elif isinstance(message, Outcome) and message.status in ("failed", "stopped"):
            self._remove(worker)  # after a failure the state of its memory is unknown
        if isinstance(message, Outcome):
            worker.job = None
            on_end(job, message)
        else:
            is_pruned = should_prune(job, *message)
            with suppress(OSError):  # the worker died in the meantime
                worker.connection.send(is_pruned)


def _describe_death(worker: _Worker) -> Outcome:
    code = worker.process.exitcode
    reason = f"its worker died with exit code {code}"
    if code is not None and code < 0:
        reason = f"its worker was killed by {signal.Signals(-code).name}"
    return Outcome(
        "died",
        reason,
        exit_code=None if code == UNKNOWN else code,
        seconds=monotonic() - worker.started,
    )
