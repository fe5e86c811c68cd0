"""Times commands from their start to their first sign of life, each in a fresh process.

Bare imports are timed in turn with what is compared to them: no command can be faster.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from project.cli.commands import COMMANDS
from project.tracking.run import Run

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ("train", "data=digits", "model=cnn", "trainer.max_epochs=1", "trainer.devices=1")
# `import project` makes torchvision importable beside a torch without CUDA.
BARE_RUNS = "import mlflow, mlflow.store.tracking.sqlalchemy_store"
BARE_TRAIN = "import project, torch, lightning.pytorch, mlflow, albumentations"


def compare_startup(repeats: int) -> list[str]:
    """Medians over fresh processes, as lines of Markdown."""
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
        os.environ["MLFLOW_TRACKING_URI"] = environment["MLFLOW_TRACKING_URI"]

        def run(*arguments: str) -> float:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True
            )
            return time.perf_counter() - started

        def first_step() -> float:
            """Seconds from the command to the end of its first training step."""
            started = time.time()
            done = subprocess.run(
                [sys.executable, "-m", "project", *TRAIN, "--json"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            run_id = done.stdout.partition('"run_id": "')[2].partition('"')[0]
            points = Run(run_id).client.get_metric_history(run_id, "train/loss")
            return min(point.timestamp for point in points) / 1000 - started

        first_step()  # makes the store
        parts: dict[str, Callable[[], float]] = {
            "`--help`, the slowest command": lambda: max(
                run("-m", "project", name, "--help") for name in COMMANDS
            ),
            "a wrong key: `train model.dropot=0.3`": lambda: run(
                "-m", "project", "train", "model.dropot=0.3"
            ),
            "an unknown run: `evaluate run=nothing`": lambda: run(
                "-m", "project", "evaluate", "run=nothing"
            ),
            f"bare: `{BARE_RUNS}`": lambda: run("-c", BARE_RUNS),
            "`runs`": lambda: run("-m", "project", "runs"),
            f"bare: `{BARE_TRAIN}`": lambda: run("-c", BARE_TRAIN),
            "`train` up to its first step": first_step,
        }
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for repeat in range(repeats):
            for name, measure in parts.items():
                seconds[name].append(measure())
                print(f"  {repeat + 1}/{repeats} {name}: {seconds[name][-1]:.2f} s", flush=True)
    lines = [
        "| | seconds, median (range) | beyond the bare imports above it |",
        "| --- | --- | --- |",
    ]
    bare: list[float] = []
    for name, values in seconds.items():
        beyond = ""
        if name.startswith("bare"):
            bare = values
        elif bare:
            beyond = f"{statistics.median(a - b for a, b in zip(values, bare, strict=True)):+.2f}"
        low, high = min(values), max(values)
        lines.append(
            f"| {name} | {statistics.median(values):.2f} ({low:.2f} to {high:.2f}) | {beyond} |"
        )
    return [*lines, ""]
