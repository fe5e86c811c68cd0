"""Runs commands in forks of a server that has imported everything, to save import time."""

import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from project.workers.preload import start_importing


def start(words: list[str], errors: Path) -> BaseProcess:
    """Starts ``python -m project <words>``.

    Args:
        words: Words of the command line.
        errors: File for its stderr.
    """
    start_importing()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run, args=(words, dict(os.environ), str(errors)))
    process.start()
    return process


def wait_for_line(start: str, process: BaseProcess, errors: Path) -> None:
    """Waits until the process prints a line to stderr that begins like that."""
    while not any(line.startswith(start) for line in _lines(errors)):
        assert process.is_alive(), errors.read_text()
        time.sleep(0.005)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _run(words: list[str], environment: dict[str, str], errors: str) -> None:
    from project.cli.main import main

    os.environ.clear()
    os.environ.update(environment)
    file = os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(main(words))
