"""The Optuna study behind a sweep: trial states stay consistent even if a process is killed.

Several processes, on several machines, may work on one study. Each running trial stores its owner;
the trials of an owner that died are released and resumed with the same number and parameters, so
that a study has exactly the requested number of trials.
"""

import logging
import math
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from project.sweep.plan import SweepPlan
from project.sweep.storage import lock, reachable
from project.sweep.strategies import make_pruner, make_sampler, pruning_epochs

DEATHS = "losses"  # attribute of a trial: last epoch before each death of its worker

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")
log = logging.getLogger(__name__)


class Study:
    """A study in a storage that several processes share.

    Args:
        storage: Storage from ``open_storage``.
        url: Address of that storage.
        name: Name of the study.
        plan: Space, sampler, pruner and number of trials.
        mode: Whether the score is minimised or maximised.
    """

    def __init__(
        self, storage: RDBStorage, url: str, name: str, plan: SweepPlan, mode: Literal["min", "max"]
    ) -> None:
        settings, max_epochs = plan.settings, plan.config.trainer.max_epochs
        self.name = name
        self._storage = storage
        self._url = url
        self._plan = plan
        self._decides = pruning_epochs(settings.pruner, max_epochs).__contains__
        self.num_trials = settings.trials
        self._grid = plan.space.grid(self.num_trials) if settings.sampler == "grid" else {}
        if self._grid:
            self.num_trials = min(self.num_trials, math.prod(map(len, self._grid.values())))
        self.optuna = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize" if mode == "max" else "minimize",
            pruner=make_pruner(settings.pruner, max_epochs),
            load_if_exists=True,
        )
        self._id = storage.get_study_id_from_name(name)
        self._trials: dict[int, Trial] = {}  # trials that run in this process's workers, by number
        self._reports: list[tuple[int, int, float]] = []  # number, epoch and score

    @contextmanager
    def lock(self, purpose: str = "trials", timeout: float = 120) -> Iterator[bool]:
        """Excludes other processes, on any machine, from the same work; see ``storage.lock``."""
        with lock(self._url, f"{self.name}.{purpose}", timeout) as is_held:
            yield is_held

    @reachable()
    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Returns all trials, or those in some states."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    @property
    @reachable()
    def attributes(self) -> dict[str, Any]:
        """Attributes of the study as a whole."""
        return dict(self.optuna.user_attrs)

    @reachable()
    def set_attribute(self, name: str, value: Any) -> None:
        """Stores an attribute of the study as a whole."""
        self.optuna.set_user_attr(name, value)

    @reachable()
    def claim(self) -> tuple[Trial, bool] | None:
        """Claims a trial for this process: a released one first, else a new one.

        Returns:
            Trial, and whether it was started before; None if there is none to train.
        """
        with self.lock() as is_held:
            if not is_held:
                return None
            trials = self.trials()
            is_waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not is_waiting and len(trials) >= self.num_trials:
                return None
            settings, seed = self._plan.settings, self._plan.config.seed
            self.optuna.sampler = make_sampler(settings.sampler, seed, len(trials), self._grid)
            trial = self.optuna.ask(self._plan.space.distributions)
            was_started = "owner" in trial.user_attrs
            trial.set_user_attr("owner", this_process())
            self._storage.record_heartbeat(self._trial_id(trial.number))
            self._trials[trial.number] = trial
            return trial, was_started

    def report(self, number: int, epoch: int, score: float) -> bool:
        """Records the score of an epoch; returns whether the pruner ends the trial there."""
        self._reports.append((number, epoch, score))
        if not self._decides(epoch):
            return False  # the training needn't wait until the score is stored
        self.store_reports()
        with reachable():
            return self._trials[number].should_prune()

    @reachable()
    def store_reports(self) -> None:
        """Stores the scores of epochs after which the pruner decides nothing."""
        reports, self._reports = self._reports, []
        for number, epoch, score in reports:
            if (trial := self._trials.get(number)) is not None:
                trial.report(score, epoch)

    @reachable()
    def tell(self, number: int, state: TrialState, score: float | None = None) -> FrozenTrial:
        """Ends a trial; ``COMPLETE`` needs its score."""
        self.store_reports()
        trial = self._trials.pop(number)
        try:
            return self.optuna.tell(trial, score, state)
        except (ValueError, UpdateFinishedTrialError):
            # This machine was silent for so long that another one has resumed the trial.
            log.warning("trial %d now belongs to another machine", number)
            return self._storage.get_trial(self._trial_id(number))

    @reachable()
    def release(self, number: int) -> None:
        """Releases an interrupted trial, to be claimed again with its number and parameters."""
        self.store_reports()
        del self._trials[number]
        self._set_waiting(number)

    @reachable()
    def count_deaths(self, number: int) -> int:
        """Records that a trial's worker died; returns how often it did after the same epoch."""
        frozen = self._storage.get_trial(self._trial_id(number))
        deaths = [*frozen.user_attrs.get(DEATHS, []), frozen.last_step or 0]
        self._trials[number].set_user_attr(DEATHS, deaths)
        return deaths.count(deaths[-1])

    @reachable()
    def release_orphans(self) -> list[int]:
        """Releases the trials of processes that died; returns their numbers."""
        with self.lock() as is_held:
            running = self.trials(TrialState.RUNNING) if is_held else []
            # Optuna's public `fail_stale_trials` would end these trials instead of resuming them.
            stale = set(self._storage._get_stale_trial_ids(self._id)) if running else set()
            orphans = [trial.number for trial in running if self._is_orphan(trial, stale)]
            for number in orphans:
                self._set_waiting(number)
            return orphans

    @reachable()
    def record_heartbeats(self) -> None:
        """Shows other machines that the trials of this process are being trained."""
        for number in self._trials:
            self._storage.record_heartbeat(self._trial_id(number))

    def _is_orphan(self, trial: FrozenTrial, stale: set[int]) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is None:  # its owner died while it held the lock
            return True
        if owner == this_process():
            return trial.number not in self._trials
        return self._trial_id(trial.number) in stale or not _is_alive(owner)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _set_waiting(self, number: int) -> None:
        # Nothing of the trial is lost: it resumes from its run's checkpoint. Optuna's own way, a
        # failed trial and a copy of it, would count one setting twice.
        trial_id = self._trial_id(number)
        try:
            self._storage.set_trial_user_attr(trial_id, "owner", None)
            self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
        except UpdateFinishedTrialError:
            log.warning("trial %d was ended by another machine", number)


@cache
def this_process() -> Mapping[str, Any]:
    """Identifies this process as the owner of trials."""
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether a process runs; one on another machine is assumed to, until its heartbeat stops."""
    if owner["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(owner["pid"])
        is_same = bool(process.create_time() == owner["started"])
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
