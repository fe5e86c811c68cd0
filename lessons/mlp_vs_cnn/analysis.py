"""Robustness with and without weight sharing, at the same number of parameters."""

from collections.abc import Iterator

from lessons import robustness
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.reports.robustness import classifies_images

KINDS = ("rotation", "scale", "shear", "reflection", "shift")
TOLERANCE = 0.05  # relative difference up to which the networks count as equally large


def measure(trained: Trained) -> dict[str, float]:
    """Robustness, and the number of trained parameters."""
    count = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
    return {"model/parameters": float(count), **robustness.measure(trained)}


def figures(runs: Runs) -> Iterator[Drawn]:
    """Accuracy under geometric corruptions."""
    counts = [of_variant[0].metrics["model/parameters"] for of_variant in runs.values()]
    note = ""
    if max(counts) > (1 + TOLERANCE) * min(counts):
        listed = " and ".join(f"{count:,.0f}" for count in counts)
        note = f"The networks differ in size: they have {listed} parameters."
    yield "robustness", robustness.draw(runs, KINDS), note


ANALYSIS = Analysis(
    ("model/parameters", *robustness.MEASURES),
    measure,
    figures,
    classifies_images,
    robustness.NEEDS,
)
