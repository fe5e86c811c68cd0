"""Processes that import once and then train one run after another, each on devices of its own."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess, parent_process
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Literal, Self

import psutil
import torch

from project.cli.command import start_importing
from project.config.check import TrainerSettings
from project.core.errors import UserError
from project.training.devices import Devices, choose_devices
from project.training.results import FitResult

MEMORY = 1.5e9  # bytes that a worker with a small network takes
PATIENCE = 40  # seconds in which a worker that was asked to stop closes its run


@dataclass(frozen=True)
class Job:
    """One run to be trained.

    Attributes:
        name: by which its owner knows it.
        config: of the run, not checked yet: what is wrong with it becomes the job's failure.
        tags: of the run.
        resume: id of an interrupted run to go on in.
        brief: leave the model file and the figures out.
        is_watched: ask after each epoch whether to end there.
    """

    name: Any
    config: dict[str, Any]
    tags: dict[str, str]
    resume: str | None = None
    brief: bool = False
    is_watched: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: ``lost`` if its process died, ``stopped`` if it was told to end.
        reason: why it isn't ``complete``.
        result: of a complete one.
        exit_code: of the process of a lost one, as in ``multiprocessing``.
        seconds: that it took.
        memory: bytes of main memory that the process held afterwards.
    """

    status: Literal["complete", "pruned", "failed", "stopped", "lost"]
    reason: str = ""
    result: FitResult | None = None
    exit_code: int | None = None
    seconds: float = 0.0
    memory: int = 0


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    started: float = 0.0

    @property
    def waitables(self) -> list[Any]:
        # The pipe alone won't do: children of a dead worker keep its end open for a while.
        return [self.connection, self.process.sentinel]


class Pool:
    """Trains jobs in worker processes; a context, which leaves no process behind.

    Args:
        num_workers: processes.
        devices: of each job.
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
        on_end: Callable[[Job, Outcome], None],
        on_epoch: Callable[[Job, int, float], bool] = lambda job, epoch, score: False,
        on_tick: Callable[[list[Job]], None] = lambda running: None,
    ) -> None:
        """Trains until there is nothing more to do.

        Args:
            next_job: asked whenever a worker is idle, about once a second while it has none.
            on_end: told of every job that was begun.
            on_epoch: told the score of each epoch of a watched job; answers whether to prune it.
            on_tick: told about once a second which jobs are running.
        """
        while True:
            for place in range(self.num_workers):
                if self._is_idle(place) and (job := next_job()) is not None:
                    self._start(place, job)
            busy = [worker for worker in self._workers if worker and worker.job]
            if not busy:
                return
            on_tick([worker.job for worker in busy if worker.job])
            ready = wait([each for worker in busy for each in worker.waitables], timeout=1.0)
            for worker in busy:
                if set(worker.waitables) & set(ready):
                    self._attend(worker, on_end, on_epoch)

    def stop(self, on_end: Callable[[Job, Outcome], None]) -> None:
        """Ends what is running, so that each run is closed; it can be resumed later."""
        busy = [worker for worker in self._workers if worker and worker.job]
        for worker in busy:
            worker.process.terminate()
        deadline = monotonic() + PATIENCE
        for worker in busy:
            while worker.job:
                if not wait(worker.waitables, max(0.0, deadline - monotonic())):
                    worker.process.kill()
                    worker.process.join()
                self._attend(worker, on_end, lambda job, epoch, score: False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            if worker:
                self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        self._workers[self._workers.index(worker)] = None
        worker.connection.close()  # an idle worker ends by itself
        worker.process.join(5)
        pid, code = worker.process.pid, worker.process.exitcode
        if pid is not None and code in (None, 255):  # 255: nobody knows, the server was killed
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            worker.process.join(5)

    def _is_idle(self, place: int) -> bool:
        worker = self._workers[place]
        return worker is None or worker.job is None

    def _start(self, place: int, job: Job) -> None:
        worker = self._workers[place]
        if worker is None or not worker.process.is_alive():
            worker = self._workers[place] = self._make_worker(place)
        worker.job, worker.started = job, monotonic()
        with suppress(OSError):  # if it died this moment, `_attend` finds that out
            worker.connection.send(job)

    def _make_worker(self, place: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, self._environment(place), _num_threads(self.num_workers)),
            name=f"worker {place}",
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _environment(self, place: int) -> dict[str, str]:
        """What a worker sees: this process's variables, and its own GPUs only."""
        environment = dict(os.environ)  # the server may be older than the last change to them
        if self._devices.accelerator != "gpu":
            return environment
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
        first = place * self._devices.count % len(names)
        mine = ",".join(names[first : first + self._devices.count])
        return {**environment, "CUDA_VISIBLE_DEVICES": mine}

    def _attend(
        self,
        worker: _Worker,
        on_end: Callable[[Job, Outcome], None],
        on_epoch: Callable[[Job, int, float], bool],
    ) -> None:
        job = worker.job
        assert job is not None
        message = None
        with suppress(EOFError, OSError):
            if worker.connection.poll():
                message = worker.connection.recv()
        if message is None:
            self._dismiss(worker)
            worker.job = None
            code = worker.process.exitcode
            reason = f"its process died with exit code {code}"
            if code is not None and code < 0:
                reason = f"its process was ended by {signal.Signals(-code).name}"
            message = Outcome("lost", reason, exit_code=code, seconds=monotonic() - worker.started)
        elif isinstance(message, Outcome) and message.status in ("failed", "stopped"):
            self._dismiss(worker)  # after a failure nobody knows the state of its memory
        if isinstance(message, Outcome):
            worker.job = None
            on_end(job, message)
        else:
            answer = on_epoch(job, *message)
            with suppress(OSError):  # it died while we thought about it
                worker.connection.send(answer)


def choose_workers(
    asked: int | Literal["auto"],
    settings: TrainerSettings,
    devices_each: int,
    command: str = "sweep",
) -> tuple[int, Devices]:
    """How many workers there shall be, and what each of them takes.

    ``auto`` is a worker for each group of GPUs; without GPUs one for each core, as far as memory
    goes: small networks are trained faster side by side than on several threads.

    Args:
        asked: for.
        settings: of the runs.
        devices_each: that a worker takes.
        command: whose settings are named in an error message.

    Raises:
        UserError: there are not so many devices.
    """
    if settings.devices != "auto":
        raise UserError(
            f"trainer.devices: {settings.devices}: expected auto: a worker takes {devices_each}"
            + (" (sweep.devices_per_trial)" if command == "sweep" else "")
        )
    try:
        each = choose_devices(settings.model_copy(update={"devices": devices_each}))
    except UserError as error:
        reason = str(error).partition(": ")[2]
        raise UserError(f"sweep.devices_per_trial: {reason}") from None
    available = torch.cuda.device_count() if each.accelerator == "gpu" else num_cores()
    most = available // devices_each
    if asked == "auto":
        if each.accelerator == "cpu":
            most = min(most, 16, int(psutil.virtual_memory().available // MEMORY))
        return max(1, most), each
    if each.accelerator == "gpu" and asked > most:
        raise UserError(
            f"{command}.workers: {asked}: expected at most {most}: there are {available} GPUs, "
            f"and each worker takes {devices_each}"
        )
    return asked, each


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_threads(num_workers: int) -> int:
    return max(1, num_cores() // num_workers)


# What follows runs in the worker.


class _Ask:
    """A ``should_stop`` that asks the pool's process; it can be sent to the first rank of several.

    Args:
        connection: to the pool.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, epoch: int, score: float) -> bool:
        try:
            self._connection.send((epoch, score))
            return bool(self._connection.recv())
        except (EOFError, OSError):  # the pool is gone: `_follow` ends this process
            return False


def _keep_quiet(epoch: int, score: float) -> bool:
    return False


def _work(connection: Connection, environment: dict[str, str], num_threads: int) -> None:
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(num_threads)
    # In a terminal Ctrl-C reaches every process; the pool says what is to be done about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    gc.collect()
    gc.freeze()  # what is imported stays: the collector needn't look at it after each job
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        outcome = _train(job, connection)
        gc.collect()  # a Trainer, its model and its optimiser refer to each other in circles
        try:
            connection.send(outcome)
        except OSError:
            return
        if outcome.status == "stopped":
            return


def _train(job: Job, connection: Connection) -> Outcome:
    from project.config.check import check
    from project.core.errors import Pruned
    from project.core.signals import Stopped, stoppable
    from project.tracking.run import describe
    from project.train import train

    started = perf_counter()
    result, reason, status = None, "", "complete"
    try:
        with stoppable():
            config = check(job.config)
            should_stop = _Ask(connection) if job.is_watched else _keep_quiet
            log_model = not job.brief
            result = train(
                config, job.resume, job.tags, should_stop=should_stop, log_model=log_model
            )
    except Pruned as pruned:
        status, reason = "pruned", str(pruned)
    except Stopped as stopped:
        status, reason = "stopped", describe(stopped)
    except Exception as error:  # of the user's model, of torch: a job's failure, not the pool's
        status, reason = "failed", describe(error)
    seconds = perf_counter() - started
    memory = psutil.Process().memory_info().rss
    return Outcome(status, reason, result, seconds=seconds, memory=memory)  # type: ignore[arg-type]


def _follow_parent() -> None:
    """Stops this process, as Ctrl-C would, when the one that started it is gone."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
