"""Where the curves of train and val part, and how far estimates of several splits scatter."""

from collections.abc import Iterator

import numpy as np

from project.compare.trained import Analysis, Drawn, Runs, Trained
from project.figures import overfitting as drawing
from project.lessons.regularisation import train_loss

SPLIT = "split "  # variants of that name ask what a split is worth


def measure(trained: Trained) -> dict[str, float]:
    """When val was best, how much its loss rose from there, and how far val is from test."""
    loss = trained.history("val/loss")[1]
    found = {
        "overfitting/parting_epoch": float(loss.argmin() + 1),
        "overfitting/rise": float(loss[-1] - loss.min()),
    }
    if "test/accuracy" in trained.metrics:
        difference = trained.metrics["best/accuracy"] - trained.metrics["test/accuracy"]
        found["split/difference"] = abs(difference)
    return found


def figures(runs: Runs) -> Iterator[Drawn]:
    """The parting of the curves, for each variant, and the scatter of the splits."""
    curves = {
        variant: (train_loss(found[0]), found[0].history("val/loss")[1])
        for variant, found in runs.items()
        if found and not variant.startswith(SPLIT)
    }
    yield (
        "parting",
        drawing.parting(curves),
        "Loss on train and val of one seed. The line marks the epoch in which val was least: from "
        "there on the curves part.",
    )
    scores = {
        variant.removeprefix(SPLIT): np.array(
            [[t.metrics["best/accuracy"], t.metrics["test/accuracy"]] for t in found]
        )
        for variant, found in runs.items()
        if found and variant.startswith(SPLIT)
    }
    if scores:
        sizes = {
            variant.removeprefix(SPLIT): (len(found[0].data.val), len(found[0].data.split.test))
            for variant, found in runs.items()
            if found and variant.startswith(SPLIT)
        }
        yield (
            "splits",
            drawing.splits(scores, sizes),
            "Accuracy of the same weights on val and on test: a pair a seed, each split anew. The "
            "smaller a set, the wider its estimates scatter; val is besides that the set by which "
            "the epoch was chosen.",
        )


ANALYSIS = Analysis(
    ("overfitting/parting_epoch", "overfitting/rise", "split/difference"), measure, figures
)
