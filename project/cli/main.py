"""Runs a command: help, arguments, the command's function, its result and the exit code."""

import json
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
    """Runs the words of a command line, such as ``train model=cnn --json``; returns the exit code.

    0 success, 1 failed run, 2 a user's mistake (nothing written), 128 + n stopped by signal n.
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
    command = COMMANDS[name]
    result = call(command, words)
    if result is not None and "--json" in flags:
        print(to_json(result))
    elif result is not None:
        load(f"{command.target.rpartition('.')[0]}.show")(result)
    if failure := getattr(result, "failure", ""):
        raise TrainingError(failure)
    return 0


def call(command: Command, words: Sequence[str]) -> Any:
    """Checks a command's arguments before it imports anything heavy, then calls its function."""
    # Neither help nor an unknown command needs pydantic and Hydra.
    from project.cli.arguments import read_arguments

    arguments = read_arguments(command, words)
    if command.settings:  # the workers' server imports while this process does
        load("project.workers.preload.start_importing")()
    return load(command.target)(**arguments)


def to_json(result: Any) -> str:
    """A result as one JSON object, a list as one line per element; NaN and infinity become null."""
    from pydantic_core import to_jsonable_python

    if isinstance(result, (list, tuple)):
        return "\n".join(map(to_json, result))
    record = result.to_dict() if hasattr(result, "to_dict") else result
    plain = to_jsonable_python(record, inf_nan_mode="null", fallback=_to_builtin)
    return json.dumps(plain, ensure_ascii=False)


def _to_builtin(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy arrays and numbers
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form: expected to_dict() on the record")
