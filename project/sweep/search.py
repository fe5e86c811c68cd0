"""One search: trials on workers, with the records of Optuna and MLflow kept in step."""

import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from project.config.check import Config
from project.core.console import say
from project.sweep.space import Space
from project.sweep.study import Study
from project.tracking.find import children
from project.tracking.lineage import run_tags
from project.tracking.run import PARENT, Run, close_run, log_points
from project.workers.jobs import train_jobs
from project.workers.pool import Pool
from project.workers.worker import Job, Outcome

HEARTBEAT = 10  # seconds between heartbeats for the other machines
WIDTH = 80  # columns of the lines that report trials


@dataclass
class Search:
    """A study, its parent run in MLflow, and the jobs of its trials.

    Attributes:
        study: Study in Optuna.
        parent: Parent run in MLflow.
        space: Searched keys.
        config: Config of every trial, apart from the searched values.
        score_name: Name of the validation metric that is optimised.
        mode: Whether the score is minimised or maximised.
    """

    study: Study
    parent: Run
    space: Space
    config: Config
    score_name: str
    mode: Literal["min", "max"]
    _bar: "tqdm[None] | None" = field(default=None, repr=False)
    _started: float = 0.0
    _deadline: float = float("inf")
    _next_heartbeat: float = 0.0
    _num_at_start: int = 0
    _num_logged: int = 0

    def run(self, pool: Pool, timeout: float | None) -> None:
        """Trains until the study has its number of finished trials.

        Args:
            pool: Workers on this machine.
            timeout: Minutes after which no further trial starts; None for no limit.
        """
        self._started = time.monotonic()
        self._deadline = self._started + 60 * timeout if timeout else float("inf")
        self._num_at_start = len(self.finished())
        self._bar = tqdm(
            total=self.study.num_trials,
            initial=self._num_at_start,
            desc="trials",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        num_waited = 0
        try:
            while True:
                train_jobs(pool, self, self._should_prune, self._tick)
                # If another machine dies, its trials are resumed here.
                num_others = len(self.study.trials(TrialState.RUNNING))
                if not num_others or time.monotonic() > self._deadline:
                    break
                if num_others != num_waited:
                    say(f"waiting for {num_others} trials of other processes")
                    num_waited = num_others
                time.sleep(2)
                self._tick([])
        except BaseException:
            self.release_orphans()  # a trial that was being claimed when the signal arrived
            raise
        finally:
            self._bar.close()
            self._log_progress()

    def finished(self) -> list[FrozenTrial]:
        """Returns the finished trials in the order in which they ended."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        trials = self.study.trials(*states)
        return sorted(trials, key=lambda trial: (trial.datetime_complete, trial.number))

    def best(self) -> list[FrozenTrial]:
        """Returns the complete trials, the best first, each setting once."""
        complete = self.study.trials(TrialState.COMPLETE)
        sign = -1 if self.mode == "max" else 1
        ranked = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
        distinct: dict[str, FrozenTrial] = {}
        for trial in ranked:
            distinct.setdefault(repr(sorted(trial.params.items())), trial)
        return list(distinct.values())

    def make_job(self, number: int, params: Mapping[str, Any], resume: str | None) -> Job:
        """Makes the job that trains a trial."""
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
        """Releases trials whose process died, in Optuna and in MLflow."""
        for number in self.study.release_orphans():
            if (run_id := self.run_id(number)) is not None:
                close_run(run_id, "KILLED", "interrupted: its process is gone")

    def run_id(self, number: int) -> str | None:
        """Returns the id of a trial's run in MLflow."""
        runs = children(self.parent, {"sweep.trial": str(number)})
        return runs[-1].id if runs else None

    # What follows implements `project.workers.jobs.Jobs`.

    def take(self) -> Job | None:
        """Claims a trial, unless the time is up."""
        if time.monotonic() > self._deadline:
            return None
        claimed = self.study.claim()
        if claimed is None:
            return None
        trial, was_started = claimed
        resume = self.run_id(trial.number) if was_started else None
        return self.make_job(trial.number, trial.params, resume)

    def put_back(self, job: Job) -> None:
        """Releases an interrupted trial."""
        self.study.release(job.name)

    def count_deaths(self, job: Job) -> int:
        """Records that a trial's worker died; returns how often it did at the same epoch."""
        return self.study.count_deaths(job.name)

    def find_run(self, job: Job) -> str | None:
        """Returns the id of the run of a trial."""
        return self.run_id(job.name)

    def end(self, job: Job, outcome: Outcome) -> None:
        """Ends a trial in Optuna, and in MLflow if it failed before its run was created."""
        number, result = job.name, outcome.result
        if result is not None:
            trial = self.study.tell(number, TrialState.COMPLETE, result.score)
            text = f"{self.score_name} {result.score:.4f} at epoch {result.best_epoch}"
        elif outcome.status == "pruned":
            trial = self.study.tell(number, TrialState.PRUNED)
            text = f"pruned after {outcome.reason}"
        else:
            if self.run_id(number) is None:
                run = Run.create({**run_tags(self.config), **job.tags})
                close_run(run.id, "FAILED", outcome.reason)
            trial = self.study.tell(number, TrialState.FAIL)
            text = f"failed: {outcome.reason}"
        self._log_progress()
        is_best = result is not None and self.best()[0].number == number
        mark = ", best so far" if is_best else ""
        say(f"trial {number:3d}  {text}, {outcome.seconds:.0f} s{mark}  {self._progress()}")
        values = [f"{key.rpartition('.')[2]}={short(trial.params[key])}" for key in trial.params]
        indent = " " * 11
        say(textwrap.fill(" ".join(values), WIDTH, initial_indent=indent, subsequent_indent=indent))

    def _should_prune(self, job: Job, epoch: int, score: float) -> bool:
        return self.study.report(job.name, epoch, score)

    def _tick(self, running: list[Job]) -> None:
        self.study.store_reports()
        if time.monotonic() > self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + HEARTBEAT
            self.study.record_heartbeats()
            self.release_orphans()

    def _log_progress(self) -> None:
        """Logs the best score so far per finished trial; MLflow stores equal points once."""
        name, points, best = f"best/{self.score_name}", [], None
        choose = max if self.mode == "max" else min
        for step, trial in enumerate(self.finished(), start=1):
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                best = trial.value if best is None else choose(best, trial.value)
            if best is not None and trial.datetime_complete is not None:
                points.append((name, best, int(trial.datetime_complete.timestamp() * 1000), step))
        log_points(self.parent.client, self.parent.id, points[self._num_logged :])
        self._num_logged = len(points)
        if self._bar is not None:
            self._bar.update(len(self.finished()) - self._bar.n)

    def _progress(self) -> str:
        num_finished = len(self.finished())
        left = self.study.num_trials - num_finished
        speed = (time.monotonic() - self._started) / max(1, num_finished - self._num_at_start)
        minutes, seconds = divmod(int(speed * left), 60)
        eta = f", {minutes}:{seconds:02d} left" if left > 0 else ""
        return f"[{num_finished}/{self.study.num_trials}{eta}]"


def short(value: Any) -> str:
    """Formats a value with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
