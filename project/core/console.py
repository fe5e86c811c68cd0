"""Everything that commands print: results to stdout, progress and notes to stderr."""

import sys

from rich.console import Console
from tqdm import tqdm

PIPE_WIDTH = 160  # columns where stdout is not a terminal; rich would assume 80 and cut cells


def stdout() -> Console:
    """A console for results, as wide as the terminal."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def say(line: str) -> None:
    """Prints a line to stderr, above the progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
