"""The Optuna study behind a sweep: trial states stay consistent even if a process is killed.

Several processes, on several machines, may work on one study. Each running trial stores its owner.
Trials of an owner that died are resumed as they are: a study has exactly the requested number.
"""

import logging
import math
import socket
import warnings
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import psutil
from optuna import pruners, samplers
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from project.core.scores import Mode
from project.sweep.plan import PrunerName, SweepPlan
from project.sweep.storage import lock

DEATHS = "losses"  # attribute of a trial: last epoch before each death of its worker
FACTOR = 3  # Hyperband's reduction factor

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")
log = logging.getLogger(__name__)


class Study:
    """A study in a storage that several processes share; its score is minimised or maximised."""

    def __init__(self, storage: RDBStorage, name: str, plan: SweepPlan, mode: Mode) -> None:
        settings, max_epochs = plan.settings, plan.config.trainer.max_epochs
        self.name, self.num_trials = name, settings.trials
        self.plan, self.mode, self._storage = plan, mode, storage
        self._pruning_epochs = pruning_epochs(settings.pruner, max_epochs)
        self._grid = plan.space.grid(self.num_trials) if settings.sampler == "grid" else {}
        if self._grid:
            self.num_trials = min(self.num_trials, math.prod(map(len, self._grid.values())))
        goal: Any = f"{mode}imize"
        pruner = make_pruner(settings.pruner, max_epochs)
        self.optuna = optuna.create_study(
            storage=storage, study_name=name, direction=goal, pruner=pruner, load_if_exists=True
        )
        self._id = storage.get_study_id_from_name(name)
        self._trials: dict[int, Trial] = {}  # trials that run in this process's workers, by number
        self._reports: list[tuple[int, int, float]] = []  # number, epoch and score

    def lock(self, purpose: str = "trials", timeout: float = 120) -> AbstractContextManager[bool]:
        """Excludes other processes, on any machine, from the same work; see ``storage.lock``."""
        return lock(self._storage.url, f"{self.name}.{purpose}", timeout)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Returns all trials, or those in some states."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    def claim(self) -> tuple[Trial, bool] | None:
        """Claims a trial, a released one first, and returns whether it was started before."""
        with self.lock() as is_held:
            if not is_held:
                return None
            trials = self.trials()
            is_full = len(trials) >= self.num_trials
            if is_full and not any(trial.state == TrialState.WAITING for trial in trials):
                return None
            self.optuna.sampler = self._make_sampler(len(trials))
            trial = self.optuna.ask({**self.plan.space.distributions})
            was_started = "owner" in trial.user_attrs
            trial.set_user_attr("owner", this_process())
            self._storage.record_heartbeat(self._trial_id(trial.number))
            self._trials[trial.number] = trial
            return trial, was_started

    def report(self, number: int, epoch: int, score: float) -> bool:
        """Records the score of an epoch; returns whether the pruner ends the trial there."""
        self._reports.append((number, epoch, score))
        if epoch not in self._pruning_epochs:
            return False  # the training needn't wait until the score is stored
        self.store_reports()
        return self._trials[number].should_prune()

    def store_reports(self) -> None:
        """Stores the scores of epochs after which the pruner decides nothing."""
        reports, self._reports = self._reports, []
        for number, epoch, score in reports:
            if (trial := self._trials.get(number)) is not None:
                trial.report(score, epoch)

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

    def release(self, number: int) -> None:
        """Releases an interrupted trial, to be claimed again with its number and parameters."""
        self.store_reports()
        del self._trials[number]
        self._set_waiting(number)

    def count_deaths(self, number: int) -> int:
        """Records that a trial's worker died; returns how often it did after the same epoch."""
        frozen = self._storage.get_trial(self._trial_id(number))
        deaths = [*frozen.user_attrs.get(DEATHS, []), frozen.last_step or 0]
        self._trials[number].set_user_attr(DEATHS, deaths)
        return deaths.count(deaths[-1])

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

    def record_heartbeats(self) -> None:
        """Shows other machines that the trials of this process are being trained."""
        for number in self._trials:
            self._storage.record_heartbeat(self._trial_id(number))

    def _make_sampler(self, number: int) -> samplers.BaseSampler:
        # Its seed depends on the number of the trial: no two workers draw the same values, and an
        # interrupted study resumes as if it had not been interrupted.
        name, seed = self.plan.settings.sampler, self.plan.config.seed
        own_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        if name == "grid":
            return _Grid(self._grid, seed)  # all trials share one order of the grid
        if name == "qmc":
            return samplers.QMCSampler(scramble=True, seed=seed)  # all trials share one sequence
        if name == "cmaes":
            return samplers.CmaEsSampler(seed=own_seed)
        if name == "random":
            return samplers.RandomSampler(own_seed)
        # Hyperband splits the trials into brackets, each modelled separately: with Optuna's
        # default of ten random trials per bracket, a short search would be random throughout.
        return samplers.TPESampler(n_startup_trials=5, seed=own_seed)

    def _is_orphan(self, trial: FrozenTrial, stale: set[int]) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is None:  # its owner died while it held the lock
            return True
        if owner == this_process():
            return trial.number not in self._trials
        is_stale = self._trial_id(trial.number) in stale
        if is_stale or owner["host"] != socket.gethostname():
            return is_stale
        try:
            process = psutil.Process(owner["pid"])
            is_same = process.create_time() == owner["started"]
            return not is_same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

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
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def make_pruner(name: PrunerName, max_epochs: int) -> pruners.BasePruner:
    """Makes a pruner whose resource is the number of epochs."""
    if name == "hyperband":
        return _Hyperband(min_resource=1, max_resource=max_epochs, reduction_factor=FACTOR)
    if name == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max_epochs // 5)
    return pruners.NopPruner()


def pruning_epochs(name: PrunerName, max_epochs: int) -> Collection[int]:
    """Returns the epochs, from 1, after which a pruner may end a trial: Hyperband's rungs."""
    if name == "hyperband":
        return {FACTOR**rung for rung in range(max_epochs) if FACTOR**rung <= max_epochs}
    return range(1, max_epochs + 1) if name == "median" else ()


class _Grid(samplers.GridSampler):
    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: Optuna's method stops ``study.optimize``, which is not used here."""


class _Hyperband(pruners.HyperbandPruner):
    # Optuna derives the bracket from the study's name as well, and has no public option against
    # it; here a search depends on its seed only.
    def _get_bracket_id(self, study: Any, trial: FrozenTrial) -> int:
        return super()._get_bracket_id(SimpleNamespace(study_name=""), trial)  # type: ignore[arg-type]
