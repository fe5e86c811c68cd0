"""Lightning's own messages stay out of the output."""

import subprocess
import sys
from pathlib import Path

import project

TRAIN_TWICE = """
import importlib
from project.config.check import check
from project.config.compose import compose
from project.train import train

config = check(compose("train", ["data=line", "trainer.max_epochs=2", "trainer.accelerator=cpu"]))
for _ in range(2):
    train(config)
    # It resets the level of Lightning's loggers when it is imported, as MLflow's flavour does.
    importlib.reload(importlib.import_module("pytorch_lightning"))
"""


def test_two_runs_in_one_process_print_their_epochs_and_nothing_of_lightning(
    own_store: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_TWICE],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    starts = [line[:11] for line in done.stderr.splitlines()]
    assert starts == 2 * ["linear with", "epoch   1/2", "epoch   2/2"], done.stderr
    assert done.stdout == ""
