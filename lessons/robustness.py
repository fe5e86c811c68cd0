"""Robustness of image classifiers, as measurements and as a figure."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from project.compare.analysis import Runs, Trained
from project.figures.robustness import accuracy_curves
from project.reports.robustness import CORRUPTIONS, measure_robustness

NEEDS = "a classifier of images"
MAX_SAMPLES = 2000  # validation images that are corrupted
MEASURES = tuple(f"robustness/{name}" for name in CORRUPTIONS)


def measure(trained: Trained) -> dict[str, float]:
    """Area under the curve of val accuracy over severity, for each corruption.

    The first samples of a large validation set are used; they are the same for all variants of a
    seed. The curves are logged too, one step per severity, under names that ``evaluate`` doesn't
    use, since it measures on the whole validation set.
    """
    val, part = trained.data.val, slice(0, MAX_SAMPLES)
    curves = measure_robustness(
        trained.model, val.inputs[part], val.targets[part], val.indices[part]
    )
    for name, curve in curves.items():
        for step, accuracy in enumerate(curve.accuracies):
            trained.run.log_metrics({f"robustness_curve/{name}": accuracy}, step)
    return {f"robustness/{name}": curve.area for name, curve in curves.items()}


def draw(runs: Runs, names: Sequence[str] = tuple(CORRUPTIONS)) -> Figure:
    """Validation accuracy over severity of all variants, one panel per corruption."""
    curves = {
        name: {
            variant: [
                (CORRUPTIONS[name].amounts, trained.run.history(f"robustness_curve/{name}")[1])
                for trained in of_variant
            ]
            for variant, of_variant in runs.items()
        }
        for name in names
    }
    return accuracy_curves(curves, {name: CORRUPTIONS[name].unit for name in names})
