"""Starts one process per device, and ends them together."""

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from project.core.errors import Pruned, TrainingError, UserError
from project.core.signals import Stopped, raise_when_stopped


def launch(function: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Calls ``function(rank, *arguments)`` in ``count`` processes that form a process group.

    Args:
        function: Function at the top level of a module.
        arguments: Arguments that can be pickled.
        count: Number of processes.

    Raises:
        UserError, TrainingError, Pruned: As raised in one of the processes.
        TrainingError: A process died.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = start_processes(
        _run_rank,
        args=(function, arguments, count, port),
        nprocs=count,
        join=False,
        start_method="spawn",
    )
    assert context is not None
    try:
        # Ends the other processes as soon as one has died.
        while not context.join(timeout=1, grace_period=20):
            pass
    except ProcessRaisedException as error:
        # The last line of the process's traceback.
        kind, _, reason = str(error).strip().splitlines()[-1].partition(": ")
        for ours in (UserError, TrainingError, Pruned):
            if kind == f"{ours.__module__}.{ours.__qualname__}":
                raise ours(reason) from None
        raise
    except ProcessExitedException as error:
        raise TrainingError(f"a training process died: {error}") from None
    finally:
        for process in context.processes:
            process.terminate()
        for process in context.processes:
            process.join(20)
            process.kill()


def _run_rank(
    rank: int, function: Callable[..., None], arguments: tuple[Any, ...], count: int, port: int
) -> None:
    os.environ |= {  # tells Lightning that the processes have been started already
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
    }
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    raise_when_stopped()  # until the process ends, so that a second signal doesn't cut it short
    try:
        function(rank, *arguments)
    except Stopped as stopped:
        sys.exit(128 + stopped.signum)
