"""Runs a command: help, arguments, the command's function, its result and the exit code."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from project.cli.commands import COMMANDS, Command
from project.config.signatures import load
from project.core.errors import TrainingError, UserError, nearest
from project.core.signals import Stopped, stoppable


def main(words: Sequence[str]) -> int:
    """Runs the command that a command line names.

    Args:
        words: Words after ``python -m project``: a command, ``key=value`` arguments, ``--json``
            and ``--help``.

    Returns:
        Exit code: 0 success, 1 failure of the run, 2 a user's mistake (nothing was written),
        128 + n stopped by signal n.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        with stoppable():
            return _run(list(words))
    except (UserError, TrainingError) as error:
        # Names in the message may contain line breaks.
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signum
    except BrokenPipeError:  # such as `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str]) -> int:
    flags = {word for word in words if word in ("--json", "-h", "--help")}
    words = [word for word in words if word not in flags]
    name = words.pop(0) if words else ""
    if name and name not in COMMANDS:
        raise UserError(f"{name}: unknown command: {nearest(name, COMMANDS)}")
    if not name or flags & {"-h", "--help"}:
        from project.cli.help import describe, list_commands

        print(describe(name, words) if name else list_commands())
        return 0
    result = call(COMMANDS[name], words)
    if result is not None:
        _print(COMMANDS[name], result, "--json" in flags)
    if failure := getattr(result, "failure", ""):
        raise TrainingError(failure)
    return 0


def call(command: Command, words: Sequence[str]) -> Any:
    """Checks a command's arguments, then imports and calls its function.

    Raises:
        UserError: An argument is wrong; nothing heavy was imported and nothing written.
    """
    # Neither help nor an unknown command needs pydantic and Hydra.
    from project.cli.parse import read_arguments

    arguments = read_arguments(command, words)
    if command.has_workers:  # the workers' server imports while this process does
        load("project.workers.preload.start_importing")()
    return load(command.target)(**arguments)


def _print(command: Command, result: Any, as_json: bool) -> None:
    if as_json:
        from project.cli.output import to_json

        print(to_json(result))
    else:
        load(f"{command.target.rpartition('.')[0]}.show")(result)
