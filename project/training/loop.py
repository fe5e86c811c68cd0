"""Runs the Trainer: in this process, or in one process per device."""

import logging
import os
import warnings
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from project.config.build import build_data
from project.config.check import Config
from project.core.errors import Pruned
from project.data.module import DataModule
from project.models.base import Model
from project.tracking.logger import metric_logger
from project.tracking.run import Run
from project.training.callbacks import (
    Checkpoint,
    EpochSeed,
    History,
    Patience,
    Progress,
    Pruning,
    ShouldStop,
)
from project.training.devices import Devices, choose_precision, make_model
from project.training.launch import launch
from project.training.results import FitResult

torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
# Silence Lightning's hints about devices, tensor cores and log intervals: we set these ourselves.
for _name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
    logging.getLogger(_name).setLevel(logging.ERROR)
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
        config: Config of the run.
        data: Data of the config.
        model: Untrained model; on several devices each process builds its own instead.
        run: Run in MLflow.
        devices: Devices to train on.
        should_stop: Called after each epoch to decide whether to stop; None prints a line instead.
            Pickled if there are several devices.

    Raises:
        Pruned: ``should_stop`` ended the run.
        TrainingError: The loss is not finite, or a process died.
    """
    if devices.count > 1 and "RANK" not in os.environ:
        result: FitResult = launch(_fit_rank, (config, run.id, devices, should_stop), devices.count)
        return result
    started, is_main = perf_counter(), os.environ.get("RANK", "0") == "0"
    score, mode = model.task.score, model.task.mode
    history, pruning = History(run), Pruning(should_stop, f"val/{score}")
    callbacks = [EpochSeed(config.seed), history, *_make_callbacks(config, model, run), pruning]
    if should_stop is None and is_main:
        callbacks.append(Progress(f"val/{score}"))
    with metric_logger(run, enabled=is_main) as logger:
        trainer = make_trainer(
            config,
            model,
            devices,
            callbacks,
            max_epochs=config.trainer.max_epochs,
            logger=logger or False,  # None would mean a logger that writes to the working folder
        )
        resume = run.last_checkpoint if run.last_checkpoint.exists() else None
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    if pruning.stopped_at is not None:
        raise Pruned(f"epoch {pruning.stopped_at}")
    return FitResult.of(run.id, history.values, score, mode, perf_counter() - started)


def _fit_rank(
    config: Config, run_id: str, devices: Devices, should_stop: ShouldStop | None
) -> FitResult:
    data = build_data(config)
    return fit(config, data, make_model(config, data), Run(run_id), devices, should_stop)


def _make_callbacks(config: Config, model: Model, run: Run) -> list[Callback]:
    """Averaging and early stopping if the config has them, and the checkpoints."""
    monitor, mode = f"val/{model.task.score}", model.task.mode
    callbacks: list[Callback] = []
    if config.trainer.ema_decay is not None:
        average = get_ema_multi_avg_fn(config.trainer.ema_decay)
        callbacks.append(WeightAveraging(multi_avg_fn=average))
    if config.trainer.patience is not None:
        callbacks.append(Patience(monitor, mode=mode, patience=config.trainer.patience))
    # Two, because `save_last` saves only in epochs that are among the best; `last` comes last, as
    # it holds the state of the other callbacks.
    for path, monitored in ((run.best_checkpoint, monitor), (run.last_checkpoint, None)):
        checkpoint = Checkpoint(
            dirpath=run.folder,
            filename=path.stem,
            monitor=monitored,
            mode=mode,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        callbacks.append(checkpoint)
    return callbacks


def make_trainer(
    config: Config, model: Model, devices: Devices, callbacks: list[Callback], **options: Any
) -> pl.Trainer:
    """A Trainer on the devices, in the run's precision; all else that it does is in callbacks."""
    strategy: Any = "auto"
    if devices.count > 1:
        backend = "nccl" if devices.accelerator == "gpu" else "gloo"
        # Frozen parameters get no gradient, and each process would wait for it.
        strategy = DDPStrategy(
            process_group_backend=backend, find_unused_parameters=model.has_phases
        )
    return pl.Trainer(
        accelerator=devices.accelerator,
        devices=devices.count,
        strategy=strategy,
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
