"""Runs the Trainer: in this process, or in one process a device."""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)
from torch.optim.swa_utils import get_ema_multi_avg_fn

from project.config.build import build_data
from project.config.check import Config, check
from project.core.errors import Pruned, TrainingError, UserError
from project.core.signals import Stopped, raise_when_stopped
from project.data.module import DataModule
from project.tracking.run import Run
from project.training.devices import Devices, choose_precision, make_model
from project.training.progress import Progress

# Lightning's notes on devices, tensor cores and intervals: what they ask about is decided here.
torch.backends.cudnn.allow_tf32 = False  # where fp32 is asked for, it is fp32
for _name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
    logging.getLogger(_name).setLevel(logging.ERROR)

# Told the epoch, from 1, and its score when it ends; answers whether the run shall end with it.
Watch = Callable[[int, float], bool]


class EpochSeed(Callback):
    """Makes dropout a function of (seed, epoch): the same before and after a resume.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds torch before the first step: making a loader's iterator draws a number as well."""
        if batch_idx > 0:
            return
        state = np.random.SeedSequence((self.seed, trainer.current_epoch)).generate_state(1)
        torch.manual_seed(int(state[0]))


class Watched(Callback):
    """Tells a watch of every epoch, and ends the run on all ranks when it says so.

    Args:
        watch: is asked in the first process.
        monitor: the metric that it is told.
    """

    def __init__(self, watch: Watch, monitor: str) -> None:
        self.watch = watch
        self.monitor = monitor

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Asks; the trainer still saves this epoch's checkpoint before it stops."""
        epoch, ends_anyway = trainer.current_epoch + 1, trainer.should_stop
        stop = False
        if trainer.is_global_zero:
            stop = self.watch(epoch, trainer.callback_metrics[self.monitor].item())
        stop = trainer.strategy.broadcast(stop)
        if stop and not ends_anyway and epoch != trainer.max_epochs:
            trainer.should_stop = True
            self.pruned_at = epoch

    pruned_at: int | None = None


class Patience(EarlyStopping):
    """Early stopping that also stops at once where a resumed run had run out of patience."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the patience that the checkpoint has left."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Checkpoint(ModelCheckpoint):
    """Finds its files where they are now: Lightning forgets the best if the folder was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state of a checkpoint."""
        moved = dict(state_dict, dirpath=self.dirpath)
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[key] = self._here(moved[key])
        moved["best_k_models"] = {self._here(k): v for k, v in moved["best_k_models"].items()}
        super().load_state_dict(moved)

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name) if path else path


def fit(
    config: Config, data: DataModule, run: Run, devices: Devices, watch: Watch | None = None
) -> None:
    """Trains to the end, from the last checkpoint if there is one.

    Metrics go to the run; what is left afterwards are ``best.ckpt`` and ``last.ckpt``.

    Args:
        config: of the run.
        data: its data.
        run: where it is tracked.
        devices: that it takes.
        watch: asked after each epoch; None prints a line instead. On several devices it is pickled.

    Raises:
        Pruned: the watch ended it.
        TrainingError: the loss is not finite, or a process died.
    """
    if devices.count == 1:
        _fit(config, data, run, devices, watch)
    else:
        _fit_in_processes(config, run, devices, watch)


def _fit(
    config: Config,
    data: DataModule,
    run: Run,
    devices: Devices,
    watch: Watch | None,
    rank: int = 0,
) -> None:
    model = make_model(config, data)
    settings = config.trainer
    monitor, mode = f"val/{model.task.score}", model.task.mode
    callbacks: list[Callback] = [EpochSeed(config.seed)]
    if settings.ema_decay is not None:
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)))
    if settings.patience is not None:
        callbacks.append(Patience(monitor, mode=mode, patience=settings.patience))
    watched = Watched(watch, monitor) if watch is not None else None
    if watched is not None:
        callbacks.append(watched)
    elif rank == 0:
        callbacks.append(Progress(monitor))
    # Two, as `save_last` saves only where the best is saved too; `last` comes last, as it holds the
    # state of the other callbacks.
    for path, monitored in ((run.best_checkpoint, monitor), (run.last_checkpoint, None)):
        callbacks.append(
            Checkpoint(
                dirpath=run.folder,
                filename=path.stem,
                monitor=monitored,
                mode=mode,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
        )
    strategy: Any = "auto"
    if devices.count > 1:
        backend = "nccl" if devices.accelerator == "gpu" else "gloo"
        # Else each process would wait for the gradients of what is not trained in this epoch.
        strategy = DDPStrategy(
            process_group_backend=backend, find_unused_parameters=model.has_phases
        )
    with warnings.catch_warnings(), run.metric_logger(enabled=rank == 0) as logger:
        warnings.filterwarnings("ignore", module=r"lightning|torchmetrics|torch")
        trainer = pl.Trainer(
            accelerator=devices.accelerator,
            devices=devices.count,
            strategy=strategy,
            precision=choose_precision(settings, model, devices),
            max_epochs=settings.max_epochs,
            logger=logger or False,  # None would be a logger that writes into the working folder
            callbacks=callbacks,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            # Same run, same result; on a GPU some kernels would differ from run to run.
            deterministic="warn" if devices.accelerator == "gpu" else None,
        )
        resume: Path | None = run.last_checkpoint if run.last_checkpoint.exists() else None
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    if watched is not None and watched.pruned_at is not None:
        raise Pruned(f"epoch {watched.pruned_at}")


def _fit_in_processes(config: Config, run: Run, devices: Devices, watch: Watch | None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = start_processes(
        _fit_rank,
        args=(config.model_dump(), run.id, devices, port, watch),
        nprocs=devices.count,
        join=False,
        start_method="spawn",
    )
    assert context is not None
    try:
        # Ends the other processes as soon as one has died.
        while not context.join(timeout=1, grace_period=20):
            pass
    except ProcessRaisedException as error:
        # The last line of the process's traceback.
        kind, _, reason = str(error).strip().splitlines()[-1].partition(": ")
        for ours in (UserError, TrainingError, Pruned):
            if kind == f"{ours.__module__}.{ours.__qualname__}":
                raise ours(reason) from None
        raise
    except ProcessExitedException as error:
        raise TrainingError(f"a training process died: {error}") from None
    finally:
        for process in context.processes:
            process.terminate()
        for process in context.processes:
            process.join(20)
            process.kill()


def _fit_rank(
    rank: int,
    config: dict[str, Any],
    run_id: str,
    devices: Devices,
    port: int,
    watch: Watch | None,
) -> None:
    os.environ |= {  # what Lightning looks at to see that the processes are started already
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(devices.count),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
    }
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // devices.count))
    raise_when_stopped()  # to the end of the process: a second signal must not cut it short
    try:
        checked = check(config)
        _fit(checked, build_data(checked), Run(run_id), devices, watch, rank)
    except Stopped as stopped:
        sys.exit(128 + stopped.signum)
