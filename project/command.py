"""What all commands share: help that answers at once, and one line for a mistake."""

import logging
import os
import sys
from collections.abc import Callable

from project import ROOT
from project.errors import Stopped, TrainingError, UserError


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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signum)
    except BrokenPipeError:  # such as `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe_groups() -> str:
    lines = ["Groups, and the options of each:"]
    for folder in sorted(folder for folder in (ROOT / "conf").iterdir() if folder.is_dir()):
        options = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        lines.append(f"  {folder.name:10} {options}")
    return "\n".join(lines)
