"""What all commands share: help that answers at once, and one line for a mistake."""

import logging
import os
import socket
import sys
from collections.abc import Callable

from project import ROOT
from project.core.errors import TrainingError, UserError
from project.core.signals import Stopped


def run_command(main: Callable[[list[str]], None], usage: str) -> None:
    """Runs a command with this process's arguments and leaves with its exit code.

    0: done. 1: it failed on the way. 2: a mistake of the user's, nothing was written.
    128 + n: stopped by signal n.

    Args:
        main: takes the arguments.
        usage: printed for ``--help``.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(f"{usage.strip()}\n\n{_describe_groups()}")
        return
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        main(arguments)
    except (UserError, TrainingError) as error:
        # A name in it may have line breaks of its own.
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signum)
    except BrokenPipeError:  # such as `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse_port(argument: str) -> int:
    """The port of ``port=<number>``.

    Raises:
        UserError: that isn't what it is, or the port of 127.0.0.1 is taken.
    """
    key, _, value = argument.partition("=")
    if key != "port" or not value.isdecimal() or not 0 < int(value) < 65536:
        raise UserError(f"{argument}: expected port=<number from 1 to 65535>")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(value)))
        except OSError as error:
            raise UserError(f"port: {value}: {error.strerror}: expected a free port") from None
    return int(value)


def _describe_groups() -> str:
    lines = ["Groups, and the options of each:"]
    for folder in sorted(folder for folder in (ROOT / "conf").iterdir() if folder.is_dir()):
        options = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        lines.append(f"  {folder.name:10} {options}")
    return "\n".join(lines)
