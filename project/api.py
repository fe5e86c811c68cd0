"""The commands as functions, for notebooks and scripts.

    from project.api import compare, evaluate, predict, sweep, train

    result = train("model=cnn", "data=digits", "trainer.max_epochs=3")

Each takes the words of its command line and returns the command's record; ``predict`` returns its
table.
"""

import warnings
from typing import Any

from project.cli.commands import COMMANDS
from project.cli.main import call
from project.config.build import read_samples

# In a notebook without widgets tqdm draws its bars as text, which is no reason for a warning.
warnings.filterwarnings("ignore", message="IProgress not found")


def train(*words: str) -> Any:
    """Trains one model by overrides such as ``model=cnn``; returns its ``FitResult``."""
    return _call("train", words)


def sweep(*words: str) -> Any:
    """Searches by overrides such as ``sweep.trials=20``; returns its ``Winner``."""
    return _call("sweep", words)


def compare(*words: str) -> Any:
    """Compares variants by words such as ``lesson=mlp_vs_cnn``; returns a ``Comparison``."""
    return _call("compare", words)


def evaluate(*words: str) -> Any:
    """Opens the test set for a run, given by words such as ``run=last``."""
    return _call("evaluate", words)


def predict(run: str, input: str, *words: str) -> Any:
    """Predicts with a saved model; returns a DataFrame.

    Args:
        run: Run id, its first letters, ``last``, or ``models:/<name>@champion``.
        input: Path of an image, a folder of images, or a table.
        *words: Further words of the command line, such as ``top_k=3``.
    """
    return _call("predict", (f"run={run}", f"input={input}", *words)).table


def _call(name: str, words: tuple[str, ...]) -> Any:
    read_samples.cache_clear()  # the files may have changed since the last call
    return call(COMMANDS[name], words)
