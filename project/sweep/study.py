"""The Optuna study behind a sweep: whatever is killed, its account of the trials stays right.

Several processes, on several machines, may work on one study. Who owns a running trial is written
beside it, and each trial of an owner that is gone waits to be taken up again: the same trial with
the same values, so that a study has exactly the trials that were asked for.
"""

import logging
import math
import os
import socket
import sqlite3
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import psutil
import sqlalchemy
from filelock import FileLock
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from project.core.errors import TrainingError, UserError
from project.sweep.space import Space
from project.tracking.store import store_folder

SamplerName = Literal["tpe", "random", "grid", "cmaes", "qmc"]
PrunerName = Literal["hyperband", "median", "none"]
HEARTBEAT = 15  # seconds; an owner on another machine that was silent for six times that is gone
FACTOR = 3  # of hyperband: one trial of so many goes on at each rung
MAX_LOSSES = 3  # how often a trial may take its process down without having got further

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")
log = logging.getLogger(__name__)


class Study:
    """A study in a storage that several processes share.

    Args:
        storage: opened by ``open_storage``.
        url: of that storage.
        name: of the study.
        space: that is searched.
        direction: of the score.
        seed: of the sampler.
        sampler: its name.
        pruner: its name.
        num_trials: that are asked for.
        max_epochs: of a trial.
    """

    def __init__(
        self,
        storage: RDBStorage,
        url: str,
        name: str,
        space: Space,
        direction: Literal["min", "max"],
        seed: int,
        sampler: SamplerName,
        pruner: PrunerName,
        num_trials: int,
        max_epochs: int,
    ) -> None:
        self.name = name
        self._storage = storage
        self._url = url
        self._space = space
        self._seed = seed
        self._sampler = sampler
        self._decides = pruning_epochs(pruner, max_epochs).__contains__
        self._grid = space.grid(num_trials) if sampler == "grid" else {}
        self.num_trials = num_trials
        if self._grid:
            self.num_trials = min(num_trials, math.prod(map(len, self._grid.values())))
        self.optuna = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize" if direction == "max" else "minimize",
            pruner=make_pruner(pruner, max_epochs),
            load_if_exists=True,
        )
        self._trials: dict[int, Trial] = {}  # that run in this process's workers, by number
        self._reports: list[tuple[int, int, float]] = []  # number, epoch and score

    @contextmanager
    def lock(self, purpose: str = "trials", timeout: float = 120) -> Iterator[bool]:
        """Keeps others from doing the same with this study, on this and on other machines.

        Gives False if another holds it for so many seconds. A process that dies lets go of it.
        """
        with lock(self._url, f"{self.name}.{purpose}", timeout) as is_mine:
            yield is_mine

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in some states."""
        with _told():
            return self.optuna.get_trials(deepcopy=False, states=states or None)

    @property
    def attributes(self) -> dict[str, Any]:
        """What has been noted about the study as a whole."""
        with _told():
            return dict(self.optuna.user_attrs)

    def note(self, name: str, value: Any) -> None:
        """Notes something about the study as a whole."""
        with _told():
            self.optuna.set_user_attr(name, value)

    def claim(self) -> tuple[Trial, bool] | None:
        """Takes up a trial: one that waits to go on, or a new one; None if there is none to do.

        Returns:
            The trial, and whether it was begun before.
        """
        with _told(), self.lock() as is_mine:
            if not is_mine:
                return None
            trials = self.trials()
            waits = any(trial.state == TrialState.WAITING for trial in trials)
            if not waits and len(trials) >= self.num_trials:
                return None
            # A function of the seed and the number of the trial: no two workers draw the same, and
            # an interrupted study goes on like one that was not.
            self.optuna.sampler = self._make_sampler(len(trials))
            trial = self.optuna.ask(self._space.distributions)
            was_begun = "owner" in trial.user_attrs
            trial.set_user_attr("owner", _me())
            self._storage.record_heartbeat(trial._trial_id)
            self._trials[trial.number] = trial
            return trial, was_begun

    def report(self, number: int, epoch: int, score: float) -> bool:
        """Takes an intermediate score and says whether the pruner would end the trial there."""
        self._reports.append((number, epoch, score))
        if not self._decides(epoch):
            return False  # the training needn't wait while the score is stored
        self.store_reports()
        with _told():
            return self._trials[number].should_prune()

    def store_reports(self) -> None:
        """Stores the intermediate scores of epochs in which nothing was to be decided."""
        reports, self._reports = self._reports, []
        with _told():
            for number, epoch, score in reports:
                if (trial := self._trials.get(number)) is not None:
                    trial.report(score, epoch)

    def tell(self, number: int, state: TrialState, score: float | None = None) -> FrozenTrial:
        """Ends a trial; its score belongs to ``COMPLETE``."""
        self.store_reports()
        trial = self._trials.pop(number)
        with _told():
            try:
                return self.optuna.tell(trial, score, state)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                # This machine was silent for so long that another took the trial up.
                log.warning("trial %d is not this machine's any more", number)
                return self._storage.get_trial(trial._trial_id)

    def release(self, number: int) -> None:
        """Lets an interrupted trial wait, with its values and its number, to be taken up again."""
        self.store_reports()
        trial = self._trials.pop(number)
        with _told():
            self._wait(trial._trial_id)

    def count_loss(self, number: int) -> bool:
        """Notes that a trial took its process down; False if it did so too often in one place."""
        trial = self._trials[number]
        with _told():
            frozen = self._storage.get_trial(trial._trial_id)
            before = frozen.user_attrs.get("losses", [])
            losses = [*before, frozen.last_step or 0]
            trial.set_user_attr("losses", losses)
        return losses.count(losses[-1]) < MAX_LOSSES

    def release_orphans(self) -> list[int]:
        """Lets the trials of processes that are gone wait; their numbers."""
        released = []
        with _told(), self.lock() as is_mine:
            if not is_mine:
                return []
            running = self.trials(TrialState.RUNNING)
            silent = self._storage._get_stale_trial_ids(self.optuna._study_id) if running else []
            for trial in running:
                owner = trial.user_attrs.get("owner")  # none: it died while it held the lock
                if owner == _me():
                    is_orphan = trial.number not in self._trials
                else:
                    is_orphan = trial._trial_id in silent or owner is None or not _is_alive(owner)
                if is_orphan:
                    self._wait(trial._trial_id)
                    released.append(trial.number)
        return released

    def beat(self) -> None:
        """Shows other machines that the trials of this one are being worked on."""
        with _told():
            for trial in self._trials.values():
                self._storage.record_heartbeat(trial._trial_id)

    def _wait(self, trial_id: int) -> None:
        # An owner that is gone has lost nothing: the trial goes on from its run's checkpoint.
        # Optuna's own way, a failed trial and a copy of it, would count one setting twice.
        try:
            self._storage.set_trial_user_attr(trial_id, "owner", None)
            self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
        except optuna.exceptions.UpdateFinishedTrialError:
            log.warning("a trial was ended by another machine")

    def _make_sampler(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        if self._sampler == "grid":
            return _Grid(self._grid, self._seed)  # all trials share one order of the grid
        if self._sampler == "qmc":
            return QMCSampler(scramble=True, seed=self._seed)  # and one sequence
        if self._sampler == "cmaes":
            return CmaEsSampler(seed=seed)
        if self._sampler == "random":
            return RandomSampler(seed)
        # Hyperband divides the trials into brackets of which each is modelled alone: with Optuna's
        # ten, a short search would draw at random to its end.
        return TPESampler(n_startup_trials=5, seed=seed)


class _Grid(GridSampler):
    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: Optuna's would stop a loop that isn't here."""


class _Hyperband(HyperbandPruner):
    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        # Optuna draws the bracket from the study's name too; here a search is a function of its
        # seed, whatever it is called.
        return super()._get_bracket_id(_Nameless(), trial)  # type: ignore[arg-type]


class _Nameless:
    study_name = ""


def make_pruner(name: PrunerName, max_epochs: int) -> BasePruner:
    """The pruner of that name, over epochs."""
    if name == "hyperband":
        return _Hyperband(min_resource=1, max_resource=max_epochs, reduction_factor=FACTOR)
    if name == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=max_epochs // 5)
    return NopPruner()


def pruning_epochs(name: PrunerName, max_epochs: int) -> Collection[int]:
    """Epochs, from 1, after which that pruner may end a trial."""
    if name == "hyperband":  # its rungs
        return {FACTOR**rung for rung in range(max_epochs) if FACTOR**rung <= max_epochs}
    return range(1, max_epochs + 1) if name == "median" else ()


def default_storage() -> str:
    """The SQLite file beside the runs."""
    return f"sqlite:///{store_folder() / 'optuna.db'}"


def open_storage(url: str) -> RDBStorage:
    """Opens a storage; makes the file and its tables on first use.

    Args:
        url: ``sqlite:///file`` or ``postgresql://user@host/database``.

    Raises:
        UserError: it can't be reached.
    """
    expected = "expected sqlite:///<file that can be written> or postgresql://user@host/database"
    engine: dict[str, Any] = {"connect_args": {"timeout": 60}}
    try:
        parsed = sqlalchemy.make_url(url)
        kind = parsed.get_backend_name()
        if kind == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
            engine = {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True}
        elif kind != "sqlite" or not parsed.database or parsed.database == ":memory:":
            raise UserError(f"sweep.storage: {mask(url)}: {expected}")
        with lock(url, "tables", 120):
            if kind == "sqlite":
                _prepare_sqlite(Path(str(parsed.database)))
            storage = RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT,
                grace_period=6 * HEARTBEAT,
            )
        if kind == "sqlite":  # enough for a killed process; a power cut may cost the last second
            sqlalchemy.event.listen(storage.engine, "connect", _synchronise_less)
            storage.engine.dispose()
        return storage
    except ImportError as error:
        raise UserError(
            f"sweep.storage: {mask(url)}: {error.name or error} is missing: "
            'expected `.venv/bin/pip install -e ".[postgres]"` before'
        ) from None
    except (SQLAlchemyError, OSError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"sweep.storage: {mask(url)}: can't be opened ({reason}): {expected}"
        ) from None


def mask(url: str) -> str:
    """An address without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url


@contextmanager
def lock(url: str, name: str, timeout: float) -> Iterator[bool]:
    """A lock that all processes with that storage share, and that a dying process lets go of."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        folder = Path(str(parsed.database)).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        file = FileLock(folder / f".{Path(str(parsed.database)).name}.{name}.lock")
        try:
            file.acquire(timeout=timeout)
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            file.release()
        return
    engine = sqlalchemy.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        poolclass=sqlalchemy.NullPool,
        connect_args={"connect_timeout": 10},
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"SET lock_timeout = {int(timeout * 1000) or 1}"))
        key = sqlalchemy.func.hashtextextended(name, 0)
        try:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(key)))
        except sqlalchemy.exc.OperationalError:
            yield False
            return
        connection.commit()  # the lock belongs to the session, not to the transaction
        yield True
    engine.dispose()


def _prepare_sqlite(path: Path) -> None:
    """Lets readers and writers work together."""
    with sqlite3.connect(path, timeout=60) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _synchronise_less(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise TrainingError(
            f"the study's storage doesn't answer ({reason}): "
            "the same command goes on when it does again"
        ) from None


@cache
def _me() -> Mapping[str, Any]:
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process.create_time()}


def _is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether a process is there; one of another machine is given the benefit of the doubt."""
    if owner["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(owner["pid"])
        return (
            bool(process.create_time() == owner["started"])
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False
