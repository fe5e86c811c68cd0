"""Runs a function in one process per device, with torch's elastic launcher."""

import logging
import os
import sys
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from project.core.errors import Pruned, TrainingError, UserError
from project.core.signals import Stopped, raise_when_stopped

# Whatever the launcher would log is in the exception that it raises.
for _name in ("elastic.multiprocessing.api", "elastic.agent.server.api", "launcher.api"):
    logging.getLogger(f"torch.distributed.{_name}").setLevel(logging.CRITICAL)
logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)


def launch(function: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> Any:
    """Calls ``function(*arguments)`` in processes that form a process group.

    Args:
        function: Function at the top level of a module.
        arguments: Arguments that can be pickled.
        count: Number of processes.

    Returns:
        Return value of rank 0.

    Raises:
        UserError, TrainingError, Pruned: As raised in one of the processes.
        TrainingError: A process died.
        RuntimeError: Another exception in one of the processes, with its traceback.
    """
    with TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id="train",
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            signals_to_handle="",  # this process's handlers stay, the launcher ends the others
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            return elastic_launch(config, _run_rank)(function, arguments, count)[0]
        except ChildFailedError as error:
            raise _translate(error) from None


def _translate(error: ChildFailedError) -> Exception:
    """The exception of the process that failed first."""
    rank, failure = error.get_first_failure()
    report = failure.error_file_data.get("message", "")
    if not isinstance(report, dict):  # it didn't get as far as an exception
        reason = f"exit code {failure.exitcode}"
        if failure.exitcode < 0:
            reason = failure.signal_name()
        return TrainingError(f"a training process died: rank {rank}, {reason}")
    kind, _, reason = report["message"].partition(": ")
    ours = {each.__name__: each for each in (UserError, TrainingError, Pruned)}
    if kind in ours:
        return ours[kind](reason)
    return RuntimeError(f"{report['message']}\n{report['extraInfo']['py_callstack']}")


@record
def _run_rank(function: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> Any:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    raise_when_stopped()  # until the process ends, so that a second signal doesn't cut it short
    try:
        return function(*arguments)
    except Stopped as stopped:
        sys.exit(128 + stopped.signum)
