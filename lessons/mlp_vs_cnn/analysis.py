"""The same number of parameters with and without weight sharing."""

from collections.abc import Iterator

from lessons import robustness
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.reports.robustness import classifies_images

TOLERANCE = 0.05  # by which the numbers of parameters may differ


def measure(trained: Trained) -> dict[str, float]:
    """Robustness, and the number of trained parameters."""
    count = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
    return {"model/parameters": float(count), **robustness.measure(trained)}


def figures(runs: Runs) -> Iterator[Drawn]:
    """Accuracy over the amount of rotation, scale, shear, reflection and shift."""
    counts = [found[0].metrics["model/parameters"] for found in runs.values() if found]
    kinds = ("rotation", "scale", "shear", "reflection", "shift")
    for name, figure, caption in robustness.draw(runs, kinds):
        if max(counts) > (1 + TOLERANCE) * min(counts):
            listed = " and ".join(f"{count:,.0f}" for count in counts)
            caption += f" The networks are not of one size: they have {listed} parameters."
        yield name, figure, caption


ANALYSIS = Analysis(
    ("model/parameters", *robustness.MEASURES),
    measure,
    figures,
    classifies_images,
    robustness.NEEDS,
)
