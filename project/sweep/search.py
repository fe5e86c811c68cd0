"""One search: trials on workers, with the records of Optuna and MLflow kept in step."""

import textwrap
import time
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import BaseTrial, FrozenTrial, TrialState
from tqdm import tqdm

from project.core.console import say
from project.sweep.study import Study
from project.tracking.find import children
from project.tracking.labels import PARENT
from project.tracking.lineage import run_tags
from project.tracking.run import Run, close_run, log_points
from project.workers.jobs import train_jobs
from project.workers.pool import Pool
from project.workers.worker import Job, Outcome

HEARTBEAT = 10  # seconds between heartbeats for the other machines


@dataclass
class Search:
    """A study, its parent run in MLflow, and the jobs of its trials."""

    study: Study
    parent: Run
    score_name: str  # validation metric that is optimised
    _bar: "tqdm[None]" = field(init=False, repr=False)
    _started: float = 0.0
    _deadline: float = float("inf")
    _next_heartbeat: float = 0.0
    _num_at_start: int = 0
    _num_logged: int = 0

    def run(self, pool: Pool, timeout: float | None) -> None:
        """Trains until the study has its finished trials, or until ``timeout`` minutes passed."""
        self._started = time.monotonic()
        self._deadline = self._started + 60 * timeout if timeout else float("inf")
        self._num_at_start = len(self.finished())
        options: Any = {"desc": "trials", "leave": False, "disable": None}
        self._bar = tqdm(total=self.study.num_trials, initial=self._num_at_start, **options)
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
        trials = self.study.trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return sorted(trials, key=lambda trial: (trial.datetime_complete, trial.number))

    def best(self) -> list[FrozenTrial]:
        """Returns the complete trials, the best first, each setting once."""
        complete = self.study.trials(TrialState.COMPLETE)
        is_max, distinct = self.study.mode == "max", dict[str, FrozenTrial]()
        for trial in sorted(complete, key=lambda trial: trial.value or 0.0, reverse=is_max):
            distinct.setdefault(repr(sorted(trial.params.items())), trial)
        return list(distinct.values())

    def make_job(self, trial: BaseTrial, resume: str | None = None, seed: int | None = None) -> Job:
        """Makes the job that trains a trial, or that retrains it with a fresh seed."""
        plan, number = self.study.plan, trial.number
        config = plan.space.apply(plan.config, trial.params)
        tags = {PARENT: self.parent.id, "sweep.study": self.study.name}
        if seed is None:
            tags |= {"mlflow.runName": f"trial {number}", "sweep.trial": str(number)}
            return Job(number, config, tags, resume, log_model=False, is_pruned=True)
        tags |= {"sweep.retrain": str(number), "sweep.seed": str(seed)}
        tags["mlflow.runName"] = f"trial {number}, seed {seed}"
        return Job((number, seed), {**config, "seed": seed}, tags)

    def release_orphans(self) -> None:
        """Releases trials whose process died, in Optuna and in MLflow."""
        for number in self.study.release_orphans():
            if (run_id := self.find_run(number)) is not None:
                close_run(run_id, "KILLED", "interrupted: its process is gone")

    def find_run(self, name: int) -> str | None:
        """Returns the id of a trial's run in MLflow."""
        runs = children(self.parent, {"sweep.trial": str(name)})
        return runs[-1].id if runs else None

    def take(self) -> Job | None:
        """Claims a trial, unless the time is up."""
        if time.monotonic() > self._deadline or (claimed := self.study.claim()) is None:
            return None
        trial, was_started = claimed
        return self.make_job(trial, self.find_run(trial.number) if was_started else None)

    def put_back(self, job: Job) -> None:
        """Releases an interrupted trial."""
        self.study.release(job.name)

    def count_deaths(self, job: Job) -> int:
        """Records that a trial's worker died; returns how often it did at the same epoch."""
        return self.study.count_deaths(job.name)

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
            if self.find_run(number) is None:
                run = Run.create({**run_tags(self.study.plan.config), **job.tags})
                close_run(run.id, "FAILED", outcome.reason)
            trial = self.study.tell(number, TrialState.FAIL)
            text = f"failed: {outcome.reason}"
        progress = self._log_progress()
        is_best = result is not None and self.best()[0].number == number
        mark = ", best so far" if is_best else ""
        say(f"trial {number:3d}  {text}, {outcome.seconds:.0f} s{mark}  {progress}")
        values = " ".join(f"{k.rpartition('.')[2]}={short(v)}" for k, v in trial.params.items())
        say(textwrap.indent(textwrap.fill(values, width=69), " " * 11))  # 80 columns

    def _should_prune(self, job: Job, epoch: int, score: float) -> bool:
        return self.study.report(job.name, epoch, score)

    def _tick(self, running: list[Job]) -> None:
        self.study.store_reports()
        if time.monotonic() > self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + HEARTBEAT
            self.study.record_heartbeats()
            self.release_orphans()

    def _log_progress(self) -> str:
        """Logs the best score so far per finished trial; returns the progress of the study."""
        choose, finished = max if self.study.mode == "max" else min, self.finished()
        name, points, best = f"best/{self.score_name}", [], None
        for step, trial in enumerate(finished, start=1):
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                best = trial.value if best is None else choose(best, trial.value)
            if best is not None and trial.datetime_complete is not None:
                points.append((name, best, int(trial.datetime_complete.timestamp() * 1000), step))
        log_points(self.parent.client, self.parent.id, points[self._num_logged :])
        self._num_logged = len(points)
        self._bar.update(len(finished) - self._bar.n)
        left, num_new = self.study.num_trials - len(finished), len(finished) - self._num_at_start
        speed = (time.monotonic() - self._started) / max(1, num_new)
        eta = f", {tqdm.format_interval(speed * left)} left" if left > 0 else ""
        return f"[{len(finished)}/{self.study.num_trials}{eta}]"


def short(value: Any) -> str:
    """Formats a value with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
