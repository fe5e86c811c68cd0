"""Trains one model and tracks the run in MLflow: data, model, run, fit, report."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch

from project.config.build import build_data
from project.config.check import Config
from project.core.console import say
from project.core.signals import stoppable
from project.data.module import DataModule
from project.data.splits import describe_duplicates
from project.models.base import Model
from project.reports.run import log_best, report
from project.tracking.find import check_same_data, find_run
from project.tracking.run import Run
from project.training.callbacks import ShouldStop
from project.training.devices import Devices, choose_devices, choose_precision, make_model
from project.training.loop import fit
from project.training.results import FitResult


def train(
    config: Config,
    resume: str | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    should_stop: ShouldStop | None = None,
    log_model: bool = True,
) -> FitResult:
    """Trains one model and tracks the run in MLflow.

    Args:
        config: Config of the run.
        resume: Id of an interrupted run of that config, to continue it.
        tags: Additional tags of the run.
        should_stop: Called after each epoch to decide whether to stop; None prints progress.
        log_model: Whether to save the model file and the figures.

    Raises:
        UserError: The config, the data and the devices don't fit together; nothing was written.
        Pruned: ``should_stop`` ended the run.
        TrainingError: The run FAILED.
        Stopped: The run was KILLED; it can be resumed.
    """
    with stoppable():
        devices = choose_devices(config.trainer, config.data["batch_size"])
        data = build_data(config)
        data.check_devices(devices.count)
        model = make_model(config, data)
        with _open_run(config, data, devices, resume, tags or {}) as run:
            if should_stop is None:
                warn_of_data(data)
                precision = choose_precision(config.trainer, model, devices)
                say(f"{_describe(config, data, model)}, {devices}, {precision}, run {run.id}")
            if not run.has_start:  # a new run, or one that was stopped before
                run.log_start(config, data)
            result = fit(config, data, model, run, devices, should_stop)
            log_best(run, result)
            if log_model:
                report(run, config, data, model, devices, result)
    return result


def _open_run(
    config: Config, data: DataModule, devices: Devices, resume: str | None, tags: Mapping[str, str]
) -> AbstractContextManager[Run]:
    if resume is None:
        hardware = {"device": str(devices), "threads": str(torch.get_num_threads())}
        return Run.begin(config, data, {**hardware, **tags})
    run = find_run(resume, "resume")
    check_same_data(run, data)
    run.set_tags(tags)
    return run.open()


def _describe(config: Config, data: DataModule, model: Model) -> str:
    num_parameters = sum(each.numel() for each in model.parameters())
    sizes = ", ".join(f"{name} {len(getattr(data.split, name)):,}" for name in data.fingerprints)
    network = f"{config.model_name} with {num_parameters:,} parameters"
    return f"{network}, {config.data_name} ({sizes})"


def warn_of_data(data: DataModule) -> None:
    """Prints which samples were skipped, and how many are in two splits."""
    if skipped := data.about.skipped:
        name, reason = skipped[0]
        others = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        say(f"note: {name}{others} skipped: {reason}")
    for line in describe_duplicates(data.duplicates):
        say(f"note: {line}")


def show(result: FitResult) -> None:
    """Prints the result of a run."""
    print(
        f"\nval/{result.score_name} {result.score:.4f} at epoch {result.best_epoch} of "
        f"{result.num_epochs}, {result.seconds:.0f} s\n"
        f"run {result.run_id}\n\n"
        f"  make ui                            show the run in MLflow\n"
        f"  make evaluate RUN={result.run_id}  open the test set"
    )
