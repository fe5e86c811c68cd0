"""Retrains the best settings of a search over fresh seeds and picks the winner.

A search has one seed, and its best score is the luckiest of many: the best settings are ranked
again with seeds that the search has not used. The test set stays sealed until the winner is known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial

from project.config.check import Config
from project.core.console import say
from project.core.errors import TrainingError
from project.core.statistics import Estimate, estimate, paired_difference
from project.evaluate import evaluate
from project.sweep.plan import SweepPlan, make_command
from project.sweep.search import Search
from project.tracking.find import RunInfo, children
from project.tracking.models import Registration, register
from project.tracking.run import PARENT, Run
from project.workers.jobs import close_abandoned, train_all
from project.workers.pool import Pool
from project.workers.worker import Job


@dataclass(frozen=True)
class Winner:
    """Result of a sweep.

    Attributes:
        study: Name of the study.
        parent_id: Id of its parent run in MLflow.
        score_name: Name of the validation metric that decides.
        trials: Best trials, the best mean first.
        runs: Retrained runs by trial number, one per fresh seed; empty if nothing was retrained.
        values: Searched values by trial number and key.
        run_id: Id of the best run of the first trial.
        difference: Scores of the first trial minus those of the second, paired by seed, positive
            if the first is better; None if there is no second.
        registration: Registered model.
        config: Config of the best run, for ``make train``.
        test_metrics: Test metrics of the best run.
        command: Command that trains the best run again.
    """

    study: str
    parent_id: str
    score_name: str
    trials: tuple[FrozenTrial, ...]
    runs: Mapping[int, Sequence[RunInfo]]
    values: Mapping[int, Mapping[str, Any]]
    run_id: str
    difference: Estimate | None
    registration: Registration
    config: Config
    test_metrics: Mapping[str, float]
    command: str

    def scores(self, trial: FrozenTrial) -> list[float]:
        """Returns a trial's scores with the fresh seeds."""
        return [run.metrics[f"best/{self.score_name}"] for run in self.runs.get(trial.number, ())]

    def estimate(self, trial: FrozenTrial) -> Estimate:
        """Mean score of a trial and its interval; without fresh seeds the score of the search."""
        return estimate(self.scores(trial) or [trial.value or 0.0])

    @property
    def verdict(self) -> str:
        """Whether the winner is better than the second, in words."""
        first, *others = (f"trial {trial.number}" for trial in self.trials)
        if not others or self.difference is None:
            return f"{first} was not compared with another setting"
        mean, low, high = (self.difference.mean, self.difference.low, self.difference.high)
        if math.isnan(low):
            return f"{first} and {others[0]}: not separable, one seed is not enough to tell"
        interval = f"paired difference {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
        if self.difference.excludes_zero:
            return f"{first} is better than {others[0]} ({interval})"
        return f"{first} and {others[0]}: not separable ({interval})"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields of ``--json``."""
        first = self.trials[0]
        result = self.estimate(first)
        return {
            "study": self.study,
            "trial": first.number,
            "params": self.values[first.number],
            "score_name": f"val/{self.score_name}",
            "scores": self.scores(first),
            "mean": result.mean,
            "interval": None if math.isnan(result.low) else [result.low, result.high],
            "difference": self.difference,
            "verdict": self.verdict,
            "run_id": self.run_id,
            "test_metrics": self.test_metrics,
            "registered": self.registration,
            "command": self.command,
        }


def find_winner(search: Search, pool: Pool, plan: SweepPlan) -> Winner:
    """Retrains the best settings, picks the winner, evaluates it once and registers it.

    Args:
        search: Finished search.
        pool: Workers.
        plan: Plan of the sweep; with ``top_k`` 0 the winner is the best trial itself.

    Raises:
        TrainingError: No trial is complete, or no setting could be retrained.
    """
    best = search.best()
    if not best:
        num_finished = len(search.finished())
        raise TrainingError(
            f"study {search.study.name}: none of its {num_finished} trials is complete"
        )
    runs: dict[int, list[RunInfo]] = {}
    trials, difference = best[:1], None
    if plan.settings.top_k:
        runs = retrain(search, pool, best[: plan.settings.top_k], plan.settings.seeds)
        scores = {n: [_signed(search, run) for run in each] for n, each in runs.items()}
        trials = [trial for trial in best if trial.number in runs]
        trials.sort(key=lambda trial: (-fmean(scores[trial.number]), trial.number))
        run_id = max(runs[trials[0].number], key=lambda run: _signed(search, run)).id
        if len(trials) > 1:
            difference = paired_difference(*(scores[trial.number] for trial in trials[:2]))
    else:
        run_id = _add_model(search, pool, best[0])
    run = Run(run_id)
    if f"test/{search.score_name}" not in run.mlflow_run.data.metrics:
        evaluate(run_id)
    config = run.config()
    config.trainer.devices = "auto"
    values = {trial.number: search.space.values(trial.params) for trial in trials}
    metrics = run.mlflow_run.data.metrics
    return Winner(
        study=search.study.name,
        parent_id=search.parent.id,
        score_name=search.score_name,
        trials=tuple(trials),
        runs=runs,
        values=values,
        run_id=run_id,
        difference=difference,
        registration=register(run, search.score_name, search.mode),
        config=config,
        test_metrics={k: v for k, v in metrics.items() if k.startswith("test/")},
        command=make_command(plan.overrides, config, values[trials[0].number]),
    )


def retrain(
    search: Search, pool: Pool, trials: Sequence[FrozenTrial], num_seeds: int
) -> dict[int, list[RunInfo]]:
    """Retrains settings over fresh seeds; runs that are FINISHED are not trained again.

    Args:
        search: Finished search.
        pool: Workers.
        trials: Best trials.
        num_seeds: Number of fresh seeds per trial.

    Returns:
        Runs in the order of the seeds, by the number of each trial that all seeds could train.

    Raises:
        TrainingError: No setting could be retrained.
    """
    # Without the search's own seed, with which the best were lucky.
    seeds = [(search.config.seed + 1 + index) % 2**32 for index in range(num_seeds)]
    jobs = [_make_job(search, trial, seed) for seed in seeds for trial in trials]
    description = f"the best {len(trials)} settings with {num_seeds} fresh seeds each"
    runs = train_all(pool, jobs, lambda: retrained_runs(search), description)
    finished = {}
    for trial in trials:
        own = [runs.get((trial.number, seed)) for seed in seeds]
        finished[trial.number] = [r for r in own if r is not None and r.status == "FINISHED"]
        if len(finished[trial.number]) < num_seeds:
            say(f"trial {trial.number} is skipped: it failed with one of the fresh seeds")
            del finished[trial.number]
    if not finished:
        raise TrainingError(f"study {search.study.name}: none of the best could be retrained")
    return finished


def retrained_runs(search: Search) -> dict[tuple[int, int], RunInfo]:
    """Returns the retrained runs by trial and seed; the last one where there are several."""
    return {
        (int(run.tags["sweep.retrain"]), int(run.tags["sweep.seed"])): run
        for run in children(search.parent)
        if "sweep.retrain" in run.tags
    }


def close_abandoned_runs(search: Search) -> None:
    """Closes retrained runs that a killed process has left RUNNING."""
    with search.study.lock("winner", timeout=0) as is_held:  # else another process trains them
        if is_held:
            close_abandoned(retrained_runs(search))


def _signed(search: Search, run: RunInfo) -> float:
    """The score of a run, so that larger is better."""
    score = run.metrics[f"best/{search.score_name}"]
    return score if search.mode == "max" else -score


def _make_job(search: Search, trial: FrozenTrial, seed: int) -> Job:
    return Job(
        name=(trial.number, seed),
        config={**search.space.apply(search.config, trial.params), "seed": seed},
        tags={
            PARENT: search.parent.id,
            "mlflow.runName": f"trial {trial.number}, seed {seed}",
            "sweep.study": search.study.name,
            "sweep.retrain": str(trial.number),
            "sweep.seed": str(seed),
        },
    )


def _add_model(search: Search, pool: Pool, trial: FrozenTrial) -> str:
    """Adds model and figures to the run of a trial, which trials go without; returns its id."""
    run_id = search.run_id(trial.number)
    assert run_id is not None
    outputs = Run(run_id).mlflow_run.outputs
    if outputs is None or not outputs.model_outputs:
        job = search.make_job(trial.number, trial.params, run_id)
        train_all(pool, [replace(job, log_model=True, is_pruned=False)], dict, "model and figures")
        outputs = Run(run_id).mlflow_run.outputs
        if outputs is None or not outputs.model_outputs:
            raise TrainingError(f"trial {trial.number}: its model could not be saved")
    return run_id
