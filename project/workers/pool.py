"""Worker processes that import once and then train one run after another."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Literal

import joblib
import psutil
import torch

from project.config.check import TrainerSettings
from project.core.errors import UserError
from project.training.devices import Devices, choose_devices
from project.workers.preload import start_importing
from project.workers.worker import Job, Outcome, work

STOP_TIMEOUT = 40  # seconds in which a stopped worker must close its run
UNKNOWN = 255  # exit code that `multiprocessing` reports if the fork server was killed
MEMORY = 1.5e9  # bytes of main memory per worker with a small network
MAX_WORKERS = 16  # default limit on CPUs
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


class Pool(AbstractContextManager["Pool"]):
    """Trains jobs, each on its devices, in worker processes; no process outlives the context."""

    def __init__(self, num_workers: int, devices: Devices) -> None:
        self.num_workers = num_workers
        self._devices = devices
        self._workers: list[_Worker | None] = [None] * num_workers
        start_importing()
        self._context = multiprocessing.get_context("forkserver")

    def __exit__(self, *error: object) -> None:
        for worker in filter(None, self._workers):
            self._remove(worker)

    def run(
        self,
        next_job: Callable[[], Job | None],
        on_end: OnEnd,
        should_prune: ShouldPrune = lambda job, epoch, score: False,
        on_tick: OnTick = lambda running: None,
    ) -> None:
        """Trains until no job is left, and calls ``on_end`` with every job that was started.

        About once per second ``next_job`` is called if a worker is idle; it returns None if there
        is no job now. ``should_prune`` takes the epoch and the score of a job that can be pruned
        and returns whether to stop it there.
        """
        while True:
            for index, worker in enumerate(self._workers):
                is_idle = worker is None or worker.job is None
                if is_idle and (job := next_job()) is not None:
                    self._start(index, job)
            busy = [worker for worker in self._workers if worker and worker.job]
            if not busy:
                return
            on_tick([worker.job for worker in busy if worker.job])
            ready = wait([each for worker in busy for each in worker.waitables], timeout=1.0)
            for worker in busy:
                if set(worker.waitables) & set(ready):
                    self._receive(worker, on_end, should_prune)

    def stop(self, on_end: OnEnd) -> None:
        """Stops all running jobs; each closes its run, which can be resumed later."""
        busy = [worker for worker in self._workers if worker and worker.job]
        for worker in busy:
            worker.process.terminate()
        deadline = monotonic() + STOP_TIMEOUT
        for worker in busy:
            while worker.job:
                if not wait(worker.waitables, max(0.0, deadline - monotonic())):
                    worker.process.kill()
                    worker.process.join()
                self._receive(worker, on_end, lambda job, epoch, score: False)

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
            ours, theirs = self._context.Pipe()
            num_threads = max(1, joblib.cpu_count() // self.num_workers)
            arguments = theirs, self._environment(index), num_threads
            process = self._context.Process(target=work, args=arguments, name=f"worker {index}")
            process.start()
            theirs.close()
            worker = self._workers[index] = _Worker(process, ours)
        worker.job, worker.started = job, monotonic()
        with suppress(OSError):  # the worker just died, which `_receive` handles
            worker.connection.send(job)

    def _environment(self, index: int) -> dict[str, str]:
        """The variables of this process, with only the worker's own GPUs visible."""
        environment = dict(os.environ)  # the fork server may have started before a change
        if self._devices.accelerator == "gpu":
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = visible.split(",") if visible else [*map(str, range(torch.cuda.device_count()))]
            first, count = index * self._devices.count % len(names), self._devices.count
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[first : first + count])
        return environment

    def _receive(self, worker: _Worker, on_end: OnEnd, should_prune: ShouldPrune) -> None:
        job, message = worker.job, None
        assert job is not None
        with suppress(EOFError, OSError):
            if worker.connection.poll():
                message = worker.connection.recv()
        if message is None:
            self._remove(worker)
            code = worker.process.exitcode
            reason = f"its worker died with exit code {code}"
            if code is not None and code < 0:
                reason = f"its worker was killed by {signal.Signals(-code).name}"
            code, seconds = None if code == UNKNOWN else code, monotonic() - worker.started
            message = Outcome("died", reason, exit_code=code, seconds=seconds)
        elif isinstance(message, Outcome) and message.status in ("failed", "stopped"):
            self._remove(worker)  # after a failure the state of its memory is unknown
        if isinstance(message, Outcome):
            worker.job = None
            on_end(job, message)
        else:
            is_pruned = should_prune(job, *message)
            with suppress(OSError):  # the worker died in the meantime
                worker.connection.send(is_pruned)


def choose_workers(
    requested: int | Literal["auto"],
    settings: TrainerSettings,
    devices_per_run: int,
    command: str = "sweep",
) -> tuple[int, Devices]:
    """Chooses the number of workers and the devices of each; ``command`` is for error messages.

    ``auto`` uses one worker per group of GPUs; without GPUs one per core, limited by memory, as
    small networks train faster in parallel than on several threads.
    """
    if settings.devices != "auto":
        key = " (sweep.devices_per_trial)" if command == "sweep" else ""
        expected = f"expected auto: each worker uses {devices_per_run}{key}"
        raise UserError(f"trainer.devices: {settings.devices}: {expected}")
    try:
        devices = choose_devices(settings.model_copy(update={"devices": devices_per_run}))
    except UserError as error:
        reason = str(error).partition(": ")[2]
        raise UserError(f"sweep.devices_per_trial: {reason}") from None
    is_gpu = devices.accelerator == "gpu"
    available = torch.cuda.device_count() if is_gpu else joblib.cpu_count()
    most = available // devices_per_run
    if requested == "auto":
        if not is_gpu:
            most = min(most, MAX_WORKERS, int(psutil.virtual_memory().available // MEMORY))
        return max(1, most), devices
    if is_gpu and requested > most:
        expected = f"expected at most {most}: there are {available} GPUs"
        reason = f"{expected} and each worker uses {devices_per_run}"
        raise UserError(f"{command}.workers: {requested}: {reason}")
    return requested, devices
