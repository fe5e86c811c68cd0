"""The same number of parameters with and without weight sharing."""

from collections.abc import Iterator

from project.compare.trained import Analysis, Drawn, Runs, Trained
from project.lessons import robustness


def measure(trained: Trained) -> dict[str, float]:
    """Robustness, and the number of trained parameters."""
    count = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
    return {"model/parameters": float(count), **robustness.measure(trained)}


def figures(runs: Runs) -> Iterator[Drawn]:
    """Accuracy over the amount of rotation, scale, shear, reflection and shift."""
    yield from robustness.draw(runs, ("rotation", "scale", "shear", "reflection", "shift"))


ANALYSIS = Analysis(("model/parameters", *robustness.MEASURES), measure, figures)
