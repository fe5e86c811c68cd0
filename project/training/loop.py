"""Runs the Trainer: in this process, or in one process per device with torch's launcher."""

import logging
import os
import sys
import warnings
from contextlib import nullcontext
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from project.config.build import build_data
from project.config.check import Config
from project.core.errors import Pruned, TrainingError, UserError
from project.core.signals import Stopped, raise_when_stopped
from project.data.module import DataModule
from project.models.base import Model
from project.tracking.logger import metric_logger
from project.tracking.run import Run
from project.training.callbacks import History, Progress, Pruning, ShouldStop, make_callbacks
from project.training.devices import Devices, choose_precision, make_model
from project.training.results import FitResult

torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
warnings.filterwarnings("ignore", module=r"lightning|torchmetrics|torch\.")


def fit(
    config: Config,
    data: DataModule,
    model: Model,
    run: Run,
    devices: Devices,
    should_stop: ShouldStop | None = None,
) -> FitResult:
    """Trains a model, from the run's last checkpoint if there is one.

    Metrics go to the run; ``best.ckpt`` and ``last.ckpt`` stay in its folder.

    Args:
        model: Untrained model; on several devices each process builds its own instead.
        should_stop: Called after each epoch to decide whether to stop; None prints a line instead.
            Pickled if there are several devices.

    Raises:
        Pruned: ``should_stop`` ended the run.
        TrainingError: The loss is not finite, or a process died.
    """
    if devices.count > 1 and "RANK" not in os.environ:
        return _launch(devices.count, config, run.id, devices, should_stop)
    started, is_main = perf_counter(), os.environ.get("RANK", "0") == "0"
    monitor = f"val/{model.task.score}"
    history, pruning = History(run), Pruning(should_stop, monitor)
    callbacks = [history, *make_callbacks(config, model, run), pruning]
    if should_stop is None and is_main:
        callbacks.append(Progress(monitor))
    with metric_logger(run) if is_main else nullcontext() as logger:
        # Without a logger False, as None would mean one that writes to the working folder.
        options = {"max_epochs": config.trainer.max_epochs, "logger": logger or False}
        trainer = make_trainer(config, model, devices, callbacks, **options)
        resume = run.last_checkpoint if run.last_checkpoint.exists() else None
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    if pruning.stopped_at is not None:
        raise Pruned(f"epoch {pruning.stopped_at}")
    return FitResult.of(run.id, history.values, model.task, perf_counter() - started)


def make_trainer(
    config: Config, model: Model, devices: Devices, callbacks: list[Callback], **options: Any
) -> pl.Trainer:
    """A Trainer on the devices, in the run's precision; all else that it does is in callbacks."""
    # Silence Lightning's hints about devices, tensor cores and log intervals: we set these
    # ourselves. Not once at import, because packages that are imported later reset the level.
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    backend = "nccl" if devices.accelerator == "gpu" else "gloo"
    # Frozen parameters get no gradient, and each process would wait for it.
    ddp = DDPStrategy(process_group_backend=backend, find_unused_parameters=model.has_phases)
    return pl.Trainer(
        accelerator=devices.accelerator,
        devices=devices.count,
        strategy=ddp if devices.count > 1 else "auto",
        precision=choose_precision(config.trainer, model, devices),
        callbacks=callbacks,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        # Some GPU kernels would otherwise differ from run to run.
        deterministic="warn" if devices.accelerator == "gpu" else None,
        **options,
    )


def _launch(count: int, *arguments: Any) -> FitResult:
    """Calls ``_fit_rank`` in processes that form a process group; returns rank 0's result."""
    # Whatever the launcher would log is in the exception that it raises.
    for name in ("elastic.multiprocessing.api", "elastic.agent.server.api", "launcher.api"):
        logging.getLogger(f"torch.distributed.{name}").setLevel(logging.CRITICAL)
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)
    with TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id="train",
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            signals_to_handle="",  # this process's handlers stay, the launcher ends the others
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            result: FitResult = elastic_launch(config, _fit_rank)(*arguments)[0]
            return result
        except ChildFailedError as error:
            raise _translate(error) from None


def _translate(error: ChildFailedError) -> Exception:
    """The exception of the process that failed first."""
    rank, failure = error.get_first_failure()
    report = failure.error_file_data.get("message", "")
    if not isinstance(report, dict):  # it didn't get as far as an exception
        exit_code = failure.exitcode
        reason = failure.signal_name() if exit_code < 0 else f"exit code {exit_code}"
        return TrainingError(f"a training process died: rank {rank}, {reason}")
    kind, _, reason = report["message"].partition(": ")
    for ours in (UserError, TrainingError, Pruned):
        if kind == ours.__name__:
            return ours(reason)
    return RuntimeError(f"{report['message']}\n{report['extraInfo']['py_callstack']}")


@record
def _fit_rank(config: Config, run_id: str, devices: Devices, should_stop: Any) -> FitResult:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // devices.count))
    raise_when_stopped()  # until the process ends, so that a second signal doesn't cut it short
    try:
        data = build_data(config)
        model = make_model(config, data)
        return fit(config, data, model, Run(run_id), devices, should_stop)
    except Stopped as stopped:
        sys.exit(128 + stopped.signum)
