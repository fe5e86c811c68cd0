"""Losses of a run, epoch by epoch."""

import numpy as np

from project.compare.analysis import Trained
from project.core.arrays import Array


def val_loss(trained: Trained) -> Array:
    """Validation loss of each epoch."""
    return trained.history("val/loss")[1]


def train_loss(trained: Trained) -> Array:
    """Training loss of each epoch, measured as on val: no dropout, label smoothing or penalty."""
    return np.asarray(val_loss(trained) - trained.history("gap/loss")[1])
