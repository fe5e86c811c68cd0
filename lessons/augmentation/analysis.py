"""Robustness to each family of augmentation, and samples of them."""

from collections.abc import Iterator

import numpy as np

from lessons import robustness
from project.compare.analysis import Analysis, Drawn, Runs
from project.figures.training import augmentation_sheet
from project.reports.robustness import classifies_images

NUM_ON_SHEET = 6
NUM_TRIED = 100


def figures(runs: Runs) -> Iterator[Drawn]:
    """Robustness curves, and a sheet of augmented samples."""
    yield "robustness", robustness.draw(runs)
    train = next(iter(runs.values()))[0].data.train
    images, indices = train.inputs[:NUM_TRIED], train.indices[:NUM_TRIED]
    augmented = {
        variant: of_variant[0].data.augment(images, 0, indices)
        for variant, of_variant in runs.items()
        if of_variant[0].data.augment is not None
    }
    if augmented:
        # Some transforms leave some samples unchanged.
        is_changed = [(rows != images).any(axis=(1, 2, 3)) for rows in augmented.values()]
        most = np.argsort(-np.sum(is_changed, axis=0), kind="stable")
        shown = np.sort(most[:NUM_ON_SHEET])
        after = [rows[shown] for rows in augmented.values()]
        sheet = augmentation_sheet(images[shown], after, [], rows=["original", *augmented])
        yield "samples", sheet


ANALYSIS = Analysis(
    robustness.MEASURES, robustness.measure, figures, classifies_images, robustness.NEEDS
)
