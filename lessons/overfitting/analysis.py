"""Where the curves of train and val part, and how far estimates of several splits scatter."""

from collections.abc import Iterator, Sequence

import numpy as np

from lessons.overfitting import figures as drawing
from lessons.regularisation.analysis import train_loss
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array

SPLIT = "split "  # variants of that name ask what a split is worth


def parting_epoch(loss: Array) -> int | None:
    """The epoch, from 1, in which the loss on val was least; None if that was the last."""
    least = int(loss.argmin())
    return least + 1 if least + 1 < len(loss) else None


def val_loss(trained: Trained) -> Array:
    """Of each epoch."""
    return trained.history("val/loss")[1]


def measure(trained: Trained) -> dict[str, float]:
    """When val was best, how much its loss rose from there, and how far val is from test."""
    loss = val_loss(trained)
    found = {"overfitting/rise": float(loss[-1] - loss.min())}
    if (epoch := parting_epoch(loss)) is not None:
        found["overfitting/parting_epoch"] = float(epoch)
    if "test/accuracy" in trained.metrics:
        difference = trained.metrics["best/accuracy"] - trained.metrics["test/accuracy"]
        found["split/difference"] = abs(difference)
    return found


def figures(runs: Runs) -> Iterator[Drawn]:
    """The parting of the curves, for each variant, and the scatter of the splits."""
    curves = {
        variant: (train_loss(found[0]), loss := val_loss(found[0]), parting_epoch(loss))
        for variant, found in runs.items()
        if found and not variant.startswith(SPLIT)
    }
    yield (
        "parting",
        drawing.parting(curves),
        "Loss on train and val of one seed. The line marks the epoch in which val was least: what "
        "train gains from there on, val doesn't. There is none where val fell to the end.",
    )
    splits = {variant: found for variant, found in runs.items() if variant.startswith(SPLIT)}
    drawn = {variant: _pairs(found) for variant, found in splits.items() if found}
    if drawn:
        yield (
            "splits",
            drawing.splits(drawn),
            "Accuracy of the same weights on val and on test: a pair a seed, each split anew. s is "
            "the standard deviation over the seeds; in brackets what chance alone would make of so "
            "many samples. Val is besides the set by which the epoch was chosen."
            + _official(splits),
        )


def _pairs(found: Sequence[Trained]) -> drawing.Pairs:
    accuracies = [[t.metrics[f"{of}/accuracy"] for t in found] for of in ("best", "test")]
    split = found[0].data.split
    sizes = len(split.train), len(split.val), len(split.test)
    return drawing.Pairs(np.array(accuracies).T, sizes)


def _official(splits: Runs) -> str:
    """What must be said if the test set is not drawn: then all variants have the same."""
    tests = {trained.data.fingerprints["test"] for found in splits.values() for trained in found}
    if len(tests) > 1:
        return ""
    return " These data bring their own test set, which stays as it is: only the rest is split."


ANALYSIS = Analysis(
    ("overfitting/parting_epoch", "overfitting/rise", "split/difference"), measure, figures
)
