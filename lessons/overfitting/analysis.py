"""Where the losses on train and val diverge, and how much a score varies with the split."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.figures.style import COLOURS, legend_above, panels
from project.figures.training import plot_train_and_val

SPLIT = "split "  # prefix of the variants that compare ways to split
Part = tuple[str, int, Array]  # name and number of samples of a split, and accuracies (seeds,)


def parting_epoch(loss: Array) -> int | None:
    """The epoch, from 1, with the smallest loss on val; None if it is the last."""
    least = int(loss.argmin())
    return least + 1 if least + 1 < len(loss) else None


def measure(trained: Trained) -> dict[str, float]:
    """Epoch of the smallest val loss, its rise since then, and the distance of val from test."""
    _, loss = trained.run.history("val/loss")
    measured = {"overfitting/rise": float(loss[-1] - loss.min())}
    if (epoch := parting_epoch(loss)) is not None:
        measured["overfitting/parting_epoch"] = float(epoch)
    if "test/accuracy" in trained.metrics:
        difference = trained.metrics["best/accuracy"] - trained.metrics["test/accuracy"]
        measured["split/difference"] = abs(difference)
    return measured


def figures(runs: Runs) -> Iterator[Drawn]:
    """The losses of each variant, and the scatter of the splits."""
    splits = {variant: each for variant, each in runs.items() if variant.startswith(SPLIT)}
    curves = {}
    for variant, (trained, *_) in runs.items():
        if variant not in splits:
            val, gap = (trained.run.history(name)[1] for name in ("val/loss", "gap/loss"))
            curves[variant] = val - gap, val  # both without dropout
    if curves:
        yield "parting", draw_parting(curves)
    if splits:
        tests = {each.data.fingerprints["test"] for runs in splits.values() for each in runs}
        note = "These data come with a test set, which is kept: only the rest is split."
        figure = draw_splits([_accuracies(each) for each in splits.values()])
        yield "splits", figure, note if len(tests) == 1 else ""


def _accuracies(runs: Sequence[Trained]) -> tuple[str, list[Part]]:
    """The shares of the splits as a title, and the accuracies on val and on test."""
    split = runs[0].data.split
    sizes = [len(part) for part in (split.train, split.val, split.test)]
    shares = "/".join(f"{100 * size / sum(sizes):.0f}" for size in sizes)
    val, test = (
        np.array([each.metrics[metric] for each in runs])
        for metric in ("best/accuracy", "test/accuracy")
    )
    return f"train/val/test {shares} %", [("val", sizes[1], val), ("test", sizes[2], test)]


def draw_parting(curves: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Losses (epochs,) on train and val, by variant, with the epoch of the smallest loss on val.

    The axis ends a little above the losses on val after their minimum, so that their rise shows;
    the first epochs, whose losses are larger, are cut off.
    """
    figure, cells = panels(len(curves), 3, (3.4, 2.5), sharex=True, sharey=True)
    top = 1.15 * max(val[val.argmin() :].max() for _, val in curves.values())
    for axes, (name, (train, val)) in zip(cells, curves.items(), strict=True):
        parted = parting_epoch(val)
        plot_train_and_val(axes, train, val, parted)
        axes.set_ylim(0, top)
        axes.set_title(f"{name}: {f'epoch {parted}' if parted else 'last epoch'}", fontsize=10)
    figure.supylabel("loss", fontsize=10)
    legend_above(figure, cells[0])
    return figure


def draw_splits(pairs: Sequence[tuple[str, Sequence[Part]]]) -> Figure:
    """Accuracies on val and on test, one panel with its title per way to split."""
    figure, cells = panels(len(pairs), len(pairs), (3.1, 3.4), 0.0, sharey=True)
    for colour, axes, (title, pair) in zip(cycle(COLOURS), cells, pairs, strict=False):
        labels = []
        for name, size, values in pair:
            scatter = values.std(ddof=1) if len(values) > 1 else np.nan
            # The standard deviation of a binomial proportion.
            chance = np.sqrt(values.mean() * (1 - values.mean()) / size)
            labels.append(f"{name}: {size} samples\ns {scatter:.4f} ({chance:.4f})")
        lines = np.stack([values for _, _, values in pair])
        axes.plot([0, 1], lines, "o-", color=colour, alpha=0.7, markersize=5)
        axes.set_xticks([0, 1], labels, fontsize=8)
        axes.set_xlim(-0.5, 1.5)
        axes.set_title(title, fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    return figure


ANALYSIS = Analysis(
    ("overfitting/parting_epoch", "overfitting/rise", "split/difference"), measure, figures
)
