"""One search: trials on workers, with Optuna's and MLflow's accounts of them kept in step."""

import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel
from tqdm import tqdm

from project.config.build import build_data
from project.config.check import Config
from project.config.names import data_name, name_of
from project.config.schema import STRICT
from project.core.console import say
from project.core.errors import UserError
from project.core.types import Count, NonNegativeInt, Positive
from project.data.module import DataModule
from project.sweep.space import Space, check_space, parse
from project.sweep.study import PrunerName, SamplerName, Study, default_storage, open_storage
from project.tracking.children import close_run, create_parent, find_parent, log_series
from project.tracking.find import children
from project.tracking.run import PARENT, Run
from project.tracking.store import open_store
from project.train import warn_of_data
from project.training.devices import Devices, make_model
from project.workers.pool import Pool
from project.workers.worker import Job, Outcome

# The code's own fault, or the machine's: the trial would do it again.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
# What may differ between machines that work on one study.
LOCAL_KEYS = ("data.root", "data.num_workers", "trainer.accelerator")


class SweepSettings(BaseModel):
    """How a search is done.

    Attributes:
        trials: that shall be finished, over all workers, machines and starts.
        timeout: minutes after which no further trial begins; None for no limit.
        workers: processes on this machine; ``auto`` takes what it serves well.
        devices_per_trial: that train a trial together.
        sampler: of Optuna, that proposes values.
        pruner: of Optuna, that ends hopeless trials early.
        study: its name; None is ``<data>-<model>``.
        storage: address of Optuna's storage; None is SQLite beside the runs.
        top_k: settings that are trained again; 0 for none.
        seeds: fresh seeds for each of them.
    """

    model_config = STRICT

    trials: Count = 20
    timeout: Positive | None = None
    workers: Literal["auto"] | Count = "auto"
    devices_per_trial: Count = 1
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "hyperband"
    study: str | None = None
    storage: str | None = None
    top_k: NonNegativeInt = 3
    seeds: Count = 3


@dataclass
class Search:
    """A study, its parent run in MLflow, and what their trials are made of.

    Attributes:
        study: Optuna's side.
        parent: MLflow's side.
        space: that is searched.
        config: of every trial, but for the searched values.
        data: of that config.
        score_name: the metric on val that decides.
        mode: whether it is to be large or small.
    """

    study: Study
    parent: Run
    space: Space
    config: Config
    data: DataModule
    score_name: str
    mode: Literal["min", "max"]
    _bar: "tqdm[None] | None" = field(default=None, repr=False)
    _started: float = 0.0
    _deadline: float = float("inf")
    _next_beat: float = 0.0
    _count_at_start: int = 0
    _num_logged: int = 0

    def run(self, pool: Pool, timeout: float | None) -> None:
        """Brings the study to the number of trials it was asked for.

        Args:
            pool: of workers on this machine.
            timeout: minutes after which no further trial begins.
        """
        self._started = time.monotonic()
        self._deadline = self._started + 60 * timeout if timeout else float("inf")
        self._count_at_start = len(self.finished())
        self._bar = tqdm(
            total=self.study.num_trials,
            initial=self._count_at_start,
            desc="trials",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        try:
            while True:
                pool.run(self._next_job, self._end, self._prune, self._tick)
                # Those of other machines: should one be lost there, it is taken up here.
                others = len(self.study.trials(TrialState.RUNNING))
                if not others or time.monotonic() > self._deadline:
                    break
                say(f"waiting for {others} trials of other processes")
                time.sleep(2)
                self._tick([])
        except BaseException:
            pool.stop(self._end)
            self.release_orphans()  # one that was being claimed when the signal came
            raise
        finally:
            self._bar.close()
            self._log_progress()

    def finished(self) -> list[FrozenTrial]:
        """Trials that came to an end, in that order."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return sorted(
            self.study.trials(*states), key=lambda trial: (trial.datetime_complete, trial.number)
        )

    def best(self) -> list[FrozenTrial]:
        """Complete trials, the best first, each setting once."""
        complete = self.study.trials(TrialState.COMPLETE)
        sign = -1 if self.mode == "max" else 1
        ranked = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
        distinct: dict[str, FrozenTrial] = {}
        for trial in ranked:
            distinct.setdefault(repr(sorted(trial.params.items())), trial)
        return list(distinct.values())

    def job_of(self, number: int, params: Mapping[str, Any], resume: str | None = None) -> Job:
        """What trains a trial."""
        return Job(
            name=number,
            config=self.space.apply(self.config, params),
            tags={
                PARENT: self.parent.id,
                "mlflow.runName": f"trial {number}",
                "sweep.study": self.study.name,
                "sweep.trial": str(number),
            },
            resume=resume,
            log_model=False,
            is_pruned=True,
        )

    def release_orphans(self) -> None:
        """Lets trials wait whose process was killed, here and in MLflow."""
        for number in self.study.release_orphans():
            self._close_run(number, "interrupted: its process is gone")

    def find_run(self, number: int) -> str | None:
        """Id of a trial's run in MLflow."""
        found = children(self.parent, {"sweep.trial": str(number)})
        return found[-1].id if found else None

    def _next_job(self) -> Job | None:
        if time.monotonic() > self._deadline:
            return None
        claimed = self.study.claim()
        if claimed is None:
            return None
        trial, was_begun = claimed
        resume = self.find_run(trial.number) if was_begun else None
        return self.job_of(trial.number, trial.params, resume)

    def _prune(self, job: Job, epoch: int, score: float) -> bool:
        return self.study.report(job.name, epoch, score)

    def _tick(self, running: list[Job]) -> None:
        self.study.store_reports()
        if time.monotonic() > self._next_beat:
            self._next_beat = time.monotonic() + 10
            self.study.beat()
            self.release_orphans()

    def _end(self, job: Job, outcome: Outcome) -> None:
        number, reason = job.name, outcome.reason
        if outcome.status == "stopped":
            self.study.release(number)
            return
        if outcome.status == "died" and self._can_go_on(number, outcome.exit_code):
            self._close_run(number, f"interrupted: {reason}")
            self.study.release(number)
            say(f"trial {number:3d}  interrupted ({reason}), it is taken up again")
            return
        if outcome.result is not None:
            score = outcome.result.score
            trial = self.study.tell(number, TrialState.COMPLETE, score)
            what = f"{self.score_name} {score:.4f} at epoch {outcome.result.best_epoch}"
        elif outcome.status == "pruned":
            trial = self.study.tell(number, TrialState.PRUNED)
            what = f"pruned after {reason}"
        else:
            if self.find_run(number) is None:  # it failed before it could open one
                Run.create(self.config, None, job.tags)
            self._close_run(number, reason, "FAILED")
            trial = self.study.tell(number, TrialState.FAIL)
            what = f"failed: {reason}"
        self._log_progress()
        values = "  ".join(
            f"{key.rpartition('.')[2]} {short(value)}" for key, value in trial.params.items()
        )
        say(f"trial {number:3d}  {what:27}  {outcome.seconds:4.0f} s  {values}  {self._progress()}")

    def _can_go_on(self, number: int, exit_code: int | None) -> bool:
        """Whether a trial whose process died was interrupted, rather than the cause of it."""
        if exit_code is None or exit_code == 255:  # nobody knows
            return True
        if exit_code >= 0 or -exit_code in CRASHES:
            return False
        return self.study.count_loss(number)  # the kernel ends what takes too much memory

    def _close_run(self, number: int, reason: str, status: str = "KILLED") -> None:
        run_id = self.find_run(number)
        if run_id is not None:
            close_run(run_id, status, reason)

    def _log_progress(self) -> None:
        """Logs the best score so far over the finished trials; MLflow keeps equal points once."""
        points, best = [], None
        for step, trial in enumerate(self.finished(), start=1):
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                choose = max if self.mode == "max" else min
                best = trial.value if best is None else choose(best, trial.value)
            if best is not None and trial.datetime_complete is not None:
                points.append((step, best, int(trial.datetime_complete.timestamp() * 1000)))
        already = self._num_logged
        log_series(self.parent, f"best/{self.score_name}", points[already:])
        self._num_logged = len(points)
        if self._bar is not None:
            self._bar.update(len(self.finished()) - self._bar.n)

    def _progress(self) -> str:
        num_finished = len(self.finished())
        best = self.best()
        leader = f"best {best[0].value:.4f} by trial {best[0].number}, " if best else ""
        here = num_finished - self._count_at_start
        left = self.study.num_trials - num_finished
        seconds = (time.monotonic() - self._started) / max(1, here) * left
        eta = f", {int(seconds) // 60}:{int(seconds) % 60:02d} left" if left > 0 else ""
        return f"[{leader}{num_finished}/{self.study.num_trials}{eta}]"


def open_search(
    config: Config, settings: SweepSettings, tree: Mapping[str, Any], devices: Devices
) -> Search:
    """Checks everything, then opens the study and its parent run, or makes them.

    Args:
        config: that is searched.
        settings: how.
        tree: of what is searched.
        devices: of a trial.

    Raises:
        UserError: something doesn't fit; nothing was written.
    """
    trainer = config.trainer.model_copy(update={"devices": devices.count})
    config = config.model_copy(update={"trainer": trainer})
    space = parse(tree, config)
    data = build_data(config)
    data.check_devices(devices.count)
    warn_of_data(data)
    task = make_model(config, data).task
    check_space(space, config, data)
    url = settings.storage or default_storage()
    storage = open_storage(url)
    open_store()
    study = Study(
        storage,
        url,
        settings.study or f"{data_name(config.data)}-{name_of(config.model)}",
        space,
        direction=task.mode,
        seed=config.seed,
        sampler=settings.sampler,
        pruner=settings.pruner,
        num_trials=settings.trials,
        max_epochs=config.trainer.max_epochs,
    )
    with study.lock("setup"):
        _check_same_search(study, config, data, space)
        parent = _open_parent(study, config, space, data)
    return Search(study, parent, space, config, data, task.score, task.mode)


def _check_same_search(study: Study, config: Config, data: DataModule, space: Space) -> None:
    """Notes what a study searches, or makes sure that it is the same as noted before.

    Raises:
        UserError: it isn't.
    """
    flat = {key: value for key, value in config.flatten().items() if key not in LOCAL_KEYS}
    for key in space.distributions:  # their values in the config are not used
        flat.pop(key, None)
    mine: dict[str, Any] = {
        **{f"search.{key}": text for key, text in space.describe().items()},
        **{key: str(value) for key, value in flat.items()},
        "the data's fingerprint": data.fingerprint,
    }
    noted = study.attributes.get("search")
    if noted is None:
        study.note("search", json.dumps(mine))
        return
    theirs = json.loads(noted)
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key):
            raise UserError(
                f"sweep.study: {study.name}: {key}: {mine.get(key, 'not there')}: expected "
                f"{theirs.get(key, 'none')}, as the study began, or STUDY= with a new name"
            )


def _open_parent(study: Study, config: Config, space: Space, data: DataModule) -> Run:
    """The study's run in MLflow, made on first use."""
    known = study.attributes.get("parent")
    if known is None:
        tags = {
            "sweep.study": study.name,
            "model": name_of(config.model),
            "data": data_name(config.data),
            "sweep.fingerprint": data.fingerprint,
        }
        parent = create_parent(study.name, tags)
        parent.log_params(
            {f"search.{key}": text for key, text in space.describe().items()}
            | {
                key: value
                for key, value in config.flatten().items()
                if key not in space.distributions
            }
        )
        parent.log_text(json.dumps(space.describe(), indent=2), "space.json")
        study.note("parent", parent.id)
        return parent
    return find_parent(str(known))


def short(value: Any) -> str:
    """A value as people read it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
