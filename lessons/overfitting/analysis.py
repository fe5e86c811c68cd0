"""Where the losses on train and val diverge, and how much a score varies with the split."""

from collections.abc import Iterator, Sequence

import numpy as np

from lessons.losses import train_loss, val_loss
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array

from . import figures as drawing

SPLIT = "split "  # prefix of the variants that compare ways to split


def parting_epoch(loss: Array) -> int | None:
    """The epoch, from 1, with the smallest loss on val; None if it is the last."""
    least = int(loss.argmin())
    return least + 1 if least + 1 < len(loss) else None


def measure(trained: Trained) -> dict[str, float]:
    """Epoch of the smallest val loss, its rise since then, and the distance of val from test."""
    loss = val_loss(trained)
    measured = {"overfitting/rise": float(loss[-1] - loss.min())}
    if (epoch := parting_epoch(loss)) is not None:
        measured["overfitting/parting_epoch"] = float(epoch)
    if "test/accuracy" in trained.metrics:
        difference = trained.metrics["best/accuracy"] - trained.metrics["test/accuracy"]
        measured["split/difference"] = abs(difference)
    return measured


def figures(runs: Runs) -> Iterator[Drawn]:
    """The losses of each variant, and the scatter of the splits."""
    curves = {
        variant: (train_loss(each[0]), loss := val_loss(each[0]), parting_epoch(loss))
        for variant, each in runs.items()
        if not variant.startswith(SPLIT)
    }
    if curves:
        yield (
            "parting",
            drawing.parting(curves),
            "Loss on train and val of one seed. The line marks the epoch with the smallest loss on "
            "val: later gains on train do not carry over to val. There is no line where the loss "
            "on val fell until the end.",
        )
    splits = {variant: each for variant, each in runs.items() if variant.startswith(SPLIT)}
    if splits:
        caption = (
            "Accuracy of the same weights on val and on test, one pair per seed, each with its own "
            "split. s is the standard deviation over seeds; in brackets, the standard deviation "
            "expected from the number of samples alone. Note that val also selected the epoch."
        )
        tests = {each.data.fingerprints["test"] for runs in splits.values() for each in runs}
        if len(tests) == 1:
            caption += " These data come with a test set, which is kept: only the rest is split."
        pairs = [(_title(each), _scatter(each)) for each in splits.values()]
        yield "splits", drawing.splits(pairs), caption


def _title(runs: Sequence[Trained]) -> str:
    sizes = _sizes(runs)
    shares = "/".join(f"{100 * size / sum(sizes):.0f}" for size in sizes)
    return f"train/val/test {shares} %"


def _sizes(runs: Sequence[Trained]) -> tuple[int, int, int]:
    split = runs[0].data.split
    return len(split.train), len(split.val), len(split.test)


def _scatter(runs: Sequence[Trained]) -> list[drawing.Scatter]:
    """Accuracies on val and on test, with their scatter over seeds and by chance alone."""
    parts = []
    for name, metric, size in zip(("val", "test"), ("best", "test"), _sizes(runs)[1:], strict=True):
        values = np.array([each.metrics[f"{metric}/accuracy"] for each in runs])
        scatter = float(values.std(ddof=1)) if len(values) > 1 else np.nan
        # The standard deviation of a binomial proportion.
        chance = float(np.sqrt(values.mean() * (1 - values.mean()) / size))
        parts.append(drawing.Scatter(name, size, values, scatter, chance))
    return parts


ANALYSIS = Analysis(
    ("overfitting/parting_epoch", "overfitting/rise", "split/difference"), measure, figures
)
