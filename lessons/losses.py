"""Training loss of a run, epoch by epoch."""

from project.compare.analysis import Trained
from project.core.arrays import Array


def train_loss(trained: Trained) -> Array:
    """Training loss (epochs,), measured as on val: no dropout, label smoothing or penalty."""
    val, gap = (trained.history(name)[1] for name in ("val/loss", "gap/loss"))
    loss: Array = val - gap
    return loss
