"""What lessons about images share: robustness of their classifiers as measures and curves."""

from collections.abc import Iterator, Sequence

from project.compare.analysis import Drawn, Runs, Trained
from project.figures import robustness as figures
from project.reports.robustness import CORRUPTIONS, measure_robustness

NEEDS = "classifiers of images"
MAX_SAMPLES = 2000
MEASURES = tuple(f"robustness/{name}" for name in CORRUPTIONS)


def measure(trained: Trained) -> dict[str, float]:
    """Area under the curve of val accuracy over the amount, for each corruption.

    Of a large validation set the first samples do; they are the same in all variants of a seed.
    The curves themselves are logged too, a step an amount. `make evaluate` has names of its own for
    what it measures, on all of val: a lesson's numbers stay what they were.
    """
    val = trained.data.val
    shown = slice(0, MAX_SAMPLES)
    curves = measure_robustness(
        trained.model, val.inputs[shown], val.targets[shown], val.indices[shown]
    )
    for name, curve in curves.items():
        for step, accuracy in enumerate(curve.accuracies):
            trained.run.log_metrics({f"robustness_curve/{name}": accuracy}, step)
    return {f"robustness/{name}": curve.area for name, curve in curves.items()}


def draw(runs: Runs, names: Sequence[str] = tuple(CORRUPTIONS)) -> Iterator[Drawn]:
    """The curves of all variants, a panel for each corruption."""
    curves = {
        name: {
            variant: [
                (CORRUPTIONS[name].amounts, trained.history(f"robustness_curve/{name}")[1].tolist())
                for trained in of_variant
            ]
            for variant, of_variant in runs.items()
            if of_variant
        }
        for name in names
    }
    units = {name: CORRUPTIONS[name].unit for name in names}
    yield (
        "robustness",
        figures.robustness_curves(curves, units),
        "Accuracy on validation images that are changed more and more: mean over seeds, and their "
        "range as a band. Amount 0 is the upright image.",
    )
