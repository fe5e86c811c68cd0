"""The commands as functions, for notebooks: from the words of a command line to its record.

result = train("model=cnn", "data=digits", "trainer.max_epochs=3")
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
    return _call("train", *words)


def sweep(*words: str) -> Any:
    """Searches by overrides such as ``sweep.trials=20``; returns its ``Winner``."""
    return _call("sweep", *words)


def compare(*words: str) -> Any:
    """Compares variants by words such as ``lesson=mlp_vs_cnn``; returns a ``Comparison``."""
    return _call("compare", *words)


def evaluate(*words: str) -> Any:
    """Opens the test set for a run, given by words such as ``run=last``."""
    return _call("evaluate", *words)


def predict(run: str, input: str, *words: str) -> Any:
    """Predicts for files or rows with a saved model, as the command does; returns a DataFrame."""
    return _call("predict", f"run={run}", f"input={input}", *words).table


def _call(name: str, *words: str) -> Any:
    read_samples.cache_clear()  # the files may have changed since the last call
    return call(COMMANDS[name], words)
