"""Opens the sealed test set for a finished run, logs test/* to it and counts the openings.

Usage: python -m project.evaluate run=<run id>|last [robustness=true]

With robustness=true the test set stays sealed: a classifier is measured on the validation images as
they turn, grow, shift, darken ..., and how sure it is against how often it is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from project.cli.command import run_command
from project.core.errors import UserError
from project.core.signals import stoppable

if TYPE_CHECKING:
    import torch

    from project.data.module import DataModule
    from project.models.base import Model
    from project.reports.robustness import Robustness
    from project.tracking.run import Run


@dataclass(frozen=True)
class Evaluation:
    """What the test set said.

    Attributes:
        run_id: of the evaluated run.
        num_samples: in the test set.
        metrics: by name.
        interval: 95 % Wilson score interval of the accuracy; None where there is no accuracy.
        num_openings: how often this test set has been opened, by any run, this time included.
    """

    run_id: str
    num_samples: int
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None
    num_openings: int


def evaluate(run_id: str) -> Evaluation:
    """Evaluates the best checkpoint of a run on the test split, on one device.

    Args:
        run_id: of a finished run, or ``last``.

    Raises:
        UserError: there is no such run, it has no checkpoint, or its data have changed.
    """
    from sklearn.metrics import confusion_matrix

    from project.core.statistics import proportion_interval
    from project.figures.classification import confusion_matrix as draw_confusion_matrix
    from project.models.tasks import Classifier
    from project.reports.run import measure
    from project.tracking.openings import record_opening

    with stoppable():
        run, data, model, device = load_finished(run_id)
        num_openings = record_opening(run)  # recorded first: whatever comes after, it was opened
        samples = data.open_test()
        metrics, predictions = measure(model, data.test_dataloader(), device)
        logged = {f"test/{name}": value for name, value in metrics.items()}
        interval = None
        if isinstance(model.task, Classifier):
            predicted = predictions.argmax(axis=1)
            num_right = int((predicted == samples.targets).sum())
            interval = proportion_interval(num_right, len(samples))
            logged |= {"test/accuracy_low": interval[0], "test/accuracy_high": interval[1]}
            run.set_tags({"test.interval": "95 % Wilson score interval of the accuracy"})
            classes = data.spec.classes
            counts = confusion_matrix(samples.targets, predicted, labels=range(len(classes)))
            run.log_figures(
                [("test_confusion_matrix", draw_confusion_matrix(counts, classes, "test"))]
            )
        run.log_metrics(logged, step=0)
    return Evaluation(run.id, len(samples), metrics, interval, num_openings)


def evaluate_robustness(run_id: str) -> "Robustness":
    """Measures a classifier on corrupted validation images; the test set stays sealed.

    Args:
        run_id: MLflow run id, or ``last``.

    Raises:
        UserError: The run doesn't exist, or its model is not an image classifier.
    """
    from project.reports.robustness import report_robustness

    with stoppable():
        return report_robustness(*load_finished(run_id))


def load_finished(run_id: str) -> "tuple[Run, DataModule, Model, torch.device]":
    """A finished run, its data, its best model, and the device to measure on.

    Raises:
        UserError: it isn't there, isn't finished, has no checkpoint, or its data have changed.
    """
    from project.config.build import build_data
    from project.reports.run import load_best
    from project.tracking.find import check_same_data, find_run
    from project.training.devices import choose_devices

    run = find_run(run_id)
    status = run.mlflow_run.info.status
    if status != "FINISHED":
        raise UserError(f"run: {run.id}: it is {status}: expected a run that is FINISHED")
    if not run.best_checkpoint.exists():
        raise UserError(f"run: {run.id}: {run.best_checkpoint} is missing: expected its weights")
    config = run.config()
    data = build_data(config)
    check_same_data(run, data)
    model = load_best(run, config, data.spec)
    settings = config.trainer.model_copy(
        update={"devices": 1, "accelerator": "auto", "precision": "auto"}
    )
    return run, data, model, choose_devices(settings).torch_device


def main(arguments: Sequence[str]) -> None:
    """Evaluates the run of a command line and prints the result."""
    given = dict.fromkeys(("run", "robustness"), "")
    for argument in arguments:
        key, _, text = argument.partition("=")
        if key not in given or not text:
            raise UserError(f"{argument}: expected run=<run id>, run=last or robustness=true")
        given[key] = text
    if not given["run"]:
        raise UserError("run: missing: expected run=<run id>, or run=last")
    if given["robustness"] not in ("", "true", "false"):
        raise UserError(f"robustness: {given['robustness']}: expected true or false")
    if given["robustness"] == "true":
        from project.reports.robustness import show_robustness

        show_robustness(evaluate_robustness(given["run"]))
        return
    result = evaluate(given["run"])
    print(f"test set of {result.num_samples} samples, run {result.run_id}")
    for name, value in result.metrics.items():
        interval = ""
        if name == "accuracy" and result.interval is not None:
            low, high = result.interval
            interval = f"  (95 % Wilson interval {low:.4f} to {high:.4f})"
        print(f"  test/{name} {value:.4f}{interval}")
    times = "the first time" if result.num_openings == 1 else f"{result.num_openings} times"
    print(f"this test set has now been opened {times}: each further choice by it biases it more")


if __name__ == "__main__":
    run_command(main, __doc__)
