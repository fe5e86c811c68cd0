"""Trains variants over seeds, and judges what was claimed of them.

Usage: python -m project.compare lesson=NAME|FILE.yaml [GROUP=OPTION ...] [KEY=VALUE ...]

  python -m project.compare lesson=mlp_vs_cnn
  python -m project.compare lesson=augmentation data=fashion_mnist data.limit_train=6000
  python -m project.compare lesson=path/to/mine.yaml compare.seeds=5

What is finished and unchanged is not trained again; the same command goes on with the rest.

Keys: compare.{seeds,workers}, and all of `python -m project.train`: they change the base of all
variants.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from project.cli.command import run_command
from project.core.errors import UserError
from project.core.signals import stoppable
from project.workers.preload import start_importing

if TYPE_CHECKING:
    from project.compare.comparison import Comparison


def main(arguments: Sequence[str]) -> None:
    """Compares by the arguments of a command line and prints the verdicts."""
    compare_overrides(*arguments)


def compare_overrides(*overrides: str) -> "Comparison":
    """Compares by overrides such as ``lesson=mlp_vs_cnn``, prints the verdicts and gives them.

    Raises:
        UserError: something doesn't fit; nothing was written.
    """
    arguments = list(overrides)
    names = [line.removeprefix("lesson=") for line in arguments if line.startswith("lesson=")]
    if not names or not names[-1]:
        raise UserError("lesson: missing: expected a name of lessons/, or a .yaml file")
    start_importing()  # beside the imports of this process
    from project.compare.comparison import compare, open_parent
    from project.compare.plan import read_lesson
    from project.compare.report import report, show
    from project.workers.capacity import choose_workers
    from project.workers.pool import Pool

    base = [line for line in arguments if not line.startswith("lesson=")]
    with stoppable():
        lesson = read_lesson(names[-1], base)
        settings = lesson.runs[0].config.trainer
        num_workers, devices = choose_workers(lesson.settings.workers, settings, 1, "compare")
        with open_parent(lesson) as parent:
            with Pool(min(num_workers, len(lesson.runs)), devices) as pool:
                comparison = compare(lesson, parent, pool, devices)
            path = report(comparison)
        show(comparison, path)
    return comparison


if __name__ == "__main__":
    run_command(main, __doc__)
