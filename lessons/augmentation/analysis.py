"""What each family of augmentation buys, and what it doesn't."""

from collections.abc import Iterator

import numpy as np

from lessons import robustness
from project.compare.analysis import Analysis, Drawn, Runs
from project.figures.training import augmentation_sheet
from project.reports.robustness import classifies_images

NUM_SHOWN = 6
NUM_TRIED = 100


def figures(runs: Runs) -> Iterator[Drawn]:
    """Robustness curves, and a sheet of augmented samples for each variant."""
    yield from robustness.draw(runs)
    rows, names = [], []
    for variant, of_variant in runs.items():
        data = of_variant[0].data if of_variant else None
        if data is None or data.augment is None:
            continue
        before, indices = data.train.inputs[:NUM_TRIED], data.train.indices[:NUM_TRIED]
        rows.append(data.augment(before, 0, indices))
        names.append(variant)
    if rows:
        # Each transform leaves some samples as they are.
        changed = np.array([(row != before).any(axis=(1, 2, 3)) for row in rows]).sum(axis=0)
        shown = np.sort(np.argsort(-changed, kind="stable")[:NUM_SHOWN])
        yield (
            "samples",
            augmentation_sheet(
                before[shown], [row[shown] for row in rows], [], rows=["as they are", *names]
            ),
            "The same training samples as each variant may see them in an epoch, of those that "
            "most variants change.",
        )


ANALYSIS = Analysis(
    robustness.MEASURES, robustness.measure, figures, classifies_images, robustness.NEEDS
)
