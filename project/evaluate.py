"""Evaluates a finished run: on the sealed test set, or on corrupted validation images."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from sklearn.metrics import confusion_matrix

from project.config.build import build_data
from project.core.errors import UserError
from project.core.signals import stoppable
from project.core.statistics import proportion_interval
from project.core.types import RunId
from project.data.module import DataModule
from project.figures import predictions as drawing
from project.models.base import Model
from project.models.tasks import Classifier
from project.reports.robustness import Robustness, report_robustness, show_robustness
from project.reports.run import load_best, measure
from project.tracking.find import check_same_data, find_run, record_opening
from project.tracking.run import Run
from project.training.devices import choose_devices


@dataclass(frozen=True)
class TestResult:
    """Metrics of a run on the test set."""

    __test__ = False  # no test for pytest to collect

    run_id: str
    num_samples: int
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None  # 95 % Wilson score interval of the accuracy, if any
    num_openings: int  # of this test set by any run, including this time


def evaluate(run: RunId, robustness: bool = False) -> TestResult | Robustness:
    """Evaluates a finished run on the test set, and counts how often that was opened.

    Args:
        run: Finished run to evaluate.
        robustness: Whether to measure an image classifier on corrupted validation images instead;
            the test set stays sealed.

    Raises:
        UserError: The run is not finished, its checkpoint is missing, or its data have changed.
    """
    with stoppable():
        return report_robustness(*load_finished(run)) if robustness else open_test_set(run)


def open_test_set(run_id: str) -> TestResult:
    """Measures a finished run's best model on the test set; logs ``test/*`` to the run."""
    run, data, model, device = load_finished(run_id)
    num_openings = record_opening(run)  # first, so that a failure below counts as well
    samples = data.open_test()
    metrics, predictions = measure(model, data.test_dataloader(), device)
    logged = {f"test/{name}": value for name, value in metrics.items()}
    interval = None
    if isinstance(model.task, Classifier):
        predicted = predictions.argmax(axis=1)
        interval = proportion_interval(int((predicted == samples.targets).sum()), len(samples))
        logged |= {"test/accuracy_low": interval[0], "test/accuracy_high": interval[1]}
        run.set_tags({"test.interval": "95 % Wilson score interval of the accuracy"})
        classes = data.spec.classes
        counts = confusion_matrix(samples.targets, predicted, labels=range(len(classes)))
        figure = drawing.confusion_matrix(counts, classes, "test")
        run.log_figures([("test_confusion_matrix", figure)])
    run.log_metrics(logged, step=0)
    return TestResult(run.id, len(samples), metrics, interval, num_openings)


def load_finished(run_id: str) -> tuple[Run, DataModule, Model, torch.device]:
    """A finished run, its unchanged data, its best model, and the device to measure on."""
    run = find_run(run_id)
    status = run.mlflow_run.info.status
    if status != "FINISHED":
        raise UserError(f"run: {run.id}: it is {status}: expected a run that is FINISHED")
    if not run.best_checkpoint.exists():
        fault = f"{run.best_checkpoint} is missing"
        raise UserError(f"run: {run.id}: {fault}: expected a run with its checkpoint")
    config = run.config()
    data = build_data(config)
    check_same_data(run, data)
    model = load_best(run, config, data.spec)
    one_device = {"devices": 1, "accelerator": "auto", "precision": "auto"}
    devices = choose_devices(config.trainer.model_copy(update=one_device))
    return run, data, model, devices.torch_device


def show(result: TestResult | Robustness) -> None:
    """Prints the metrics, and how often the test set has been opened."""
    if isinstance(result, Robustness):
        show_robustness(result)
        return
    print(f"test set of {result.num_samples} samples, run {result.run_id}")
    for name, value in result.metrics.items():
        interval = ""
        if name == "accuracy" and result.interval is not None:
            interval = "  (95 % Wilson interval {:.4f} to {:.4f})".format(*result.interval)
        print(f"  test/{name} {value:.4f}{interval}")
    times = "the first time" if result.num_openings == 1 else f"{result.num_openings} times"
    print(f"this test set has now been opened {times}: each further choice by it biases it more")
