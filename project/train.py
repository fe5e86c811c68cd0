"""Trains one model and tracks the run in MLflow.

Usage: python -m project.train [GROUP=OPTION ...] [KEY=VALUE ...]
       python -m project.train resume=RUN_ID

  python -m project.train model=cnn data=digits trainer.max_epochs=3 seed=1
  python -m project.train data=fashion_mnist optimizer.lr=0.01 augment=none

Keys: seed, data.{root,batch_size,num_workers,limit_train,drop_duplicates},
data.splits.{train,val,test,seed}, model.dropout, optimizer.{lr,weight_decay}, scheduler.warmup,
penalty.{l1,l2}, loss.label_smoothing, trainer.{max_epochs,accelerator,devices,precision,
gradient_clip,patience,ema_decay}; and every argument of what a group option builds.
"""

# What takes seconds to import is imported in the functions, so that --help answers at once.
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from project import make_callable
from project.cli.command import run_command
from project.core.errors import UserError
from project.core.signals import stoppable

if TYPE_CHECKING:
    from project.config.check import Config
    from project.data.module import DataModule
    from project.training.loop import Watch


@dataclass(frozen=True)
class Result:
    """What a finished run came to.

    Attributes:
        run_id: of the MLflow run.
        score_name: the metric on val that runs are compared by.
        score: its value at the best epoch.
        best_epoch: from 1.
        num_epochs: that were trained.
        metrics: all of val at the best epoch.
        seconds: that the command took.
    """

    run_id: str
    score_name: str
    score: float
    best_epoch: int
    num_epochs: int
    metrics: Mapping[str, float]
    seconds: float


def train(
    config: "Config",
    resume: str | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    data: "DataModule | None" = None,
    watch: "Watch | None" = None,
    brief: bool = False,
) -> Result:
    """Trains one model: checks, opens the run, fits, logs the best model and the figures.

    Args:
        config: of the run, from ``project.config.check.check``.
        resume: id of an interrupted run of that config, to go on in.
        tags: further tags of the run.
        data: of that config, if they have been built already.
        watch: asked after each epoch whether to end there; None prints a line instead.
        brief: leave the model file and the figures out.

    Raises:
        UserError: something doesn't fit; nothing was written.
        Pruned: the watch ended the run.
        TrainingError: the run FAILED.
        Stopped: the run was KILLED, and can be resumed.
    """
    from torch import get_num_threads

    from project.config.build import build_data
    from project.reports.run import log_best, report
    from project.tracking.run import Run, check_same_data, find_run
    from project.training.devices import choose_devices, make_model
    from project.training.loop import fit

    started = perf_counter()
    with stoppable():
        devices = choose_devices(config.trainer, config.data["batch_size"])
        if data is None:
            data = build_data(config)
            warn_of_data(data)
        data.check_devices(devices.count)
        model = make_model(config, data)  # what doesn't fit is said before a run is opened
        context: AbstractContextManager[Run]
        if resume is None:
            where = {"device": str(devices), "threads": str(get_num_threads())}
            context = Run.begin(config, data, {**where, **(tags or {})})
        else:
            context = found = find_run(resume, "resume")
            check_same_data(found, data)
        with context as run:
            if not run.has_start:  # a new run, or one that was stopped before
                run.log_start(config, data)
            fit(config, data, run, devices, watch)
            best = log_best(run, model)
            if not brief:
                report(run, config, data, devices, best)
    return Result(
        run_id=run.id,
        score_name=best.score_name,
        score=best.score,
        best_epoch=best.epoch,
        num_epochs=best.num_epochs,
        metrics=best.metrics,
        seconds=perf_counter() - started,
    )


def warn_of_data(data: "DataModule") -> None:
    """Says on stderr what was left out, and how many samples are in two splits."""
    from project.data.splits import tell_duplicates

    if data.left_out:
        name, reason = data.left_out[0]
        others = f" and {len(data.left_out) - 1} more" if len(data.left_out) > 1 else ""
        print(f"note: {name}{others} left out: {reason}", file=sys.stderr)
    for line in tell_duplicates(data.duplicates):
        print(f"note: {line}", file=sys.stderr)


def main(arguments: Sequence[str]) -> None:
    """Trains by the arguments of a command line and prints the result."""
    from project.config.check import check
    from project.config.compose import compose

    resumes = [line.removeprefix("resume=") for line in arguments if line.startswith("resume=")]
    overrides = [line for line in arguments if not line.startswith("resume=")]
    config = _config_of(resumes[-1], overrides) if resumes else check(compose("train", overrides))
    result = train(config, resumes[-1] if resumes else None)
    print(
        f"\nval/{result.score_name} {result.score:.4f} at epoch {result.best_epoch} of "
        f"{result.num_epochs}, {result.seconds:.0f} s\n"
        f"run {result.run_id}\n\n"
        f"  make ui                            look at it\n"
        f"  make evaluate RUN={result.run_id}  open the test set"
    )


def _config_of(run_id: str, overrides: Sequence[str]) -> "Config":
    """The config of an interrupted run; overrides may repeat what it says, not change it."""
    from project.config.check import check
    from project.config.compose import compose
    from project.tracking.run import find_run, name_of

    run = find_run(run_id, "resume")
    status = run.mlflow_run.info.status
    if status == "FINISHED":
        raise UserError(f"resume: {run_id}: it is {status}: expected a run that was interrupted")
    config = run.config()
    stored = config.flatten()
    # Over the run's own groups: an override of one of their keys needn't name them.
    groups = [f"{name}={name_of(getattr(config, name))}" for name in ("data", "model")]
    given = check(compose("train", [*groups, *overrides])).flatten() if overrides else {}
    for key in (line.partition("=")[0].lstrip("+~") for line in overrides):
        for name, value in given.items():
            if (name == key or name.startswith(f"{key}.")) and value != stored.get(name):
                raise UserError(
                    f"{name}: {value}: expected {stored.get(name)}, as the resumed run has it"
                )
    return config


def train_overrides(*overrides: str) -> Result:
    """Trains by overrides such as ``model=cnn``; what ``project.train`` is in a notebook."""
    from project.config.check import check
    from project.config.compose import compose

    return train(check(compose("train", overrides)))


if __name__ == "__main__":
    run_command(main, __doc__)
else:
    make_callable(__name__, train_overrides)
