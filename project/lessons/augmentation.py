"""What each family of augmentation buys, and what it doesn't."""

from collections.abc import Iterator

from project.compare.trained import Analysis, Drawn, Runs
from project.figures.training import augmentation_sheet
from project.lessons import robustness

NUM_SHOWN = 6


def figures(runs: Runs) -> Iterator[Drawn]:
    """Robustness curves, and a sheet of augmented samples for each variant."""
    yield from robustness.draw(runs)
    rows, names = [], []
    before = None
    for variant, of_variant in runs.items():
        data = of_variant[0].data if of_variant else None
        if data is None or data.augment is None:
            continue
        before, indices = data.train.inputs[:NUM_SHOWN], data.train.indices[:NUM_SHOWN]
        rows.append(data.augment(before, 0, indices))
        names.append(variant)
    if before is not None:
        yield (
            "samples",
            augmentation_sheet(before, rows, [], rows=["as they are", *names]),
            "The same training samples as each variant may see them in an epoch.",
        )


ANALYSIS = Analysis(robustness.MEASURES, robustness.measure, figures)
