"""Retrains the best settings of a search over fresh seeds and picks the winner.

A search has one seed, and its best score is the luckiest of many: the best settings are ranked
again with seeds that the search has not used. The test set stays sealed until the winner is known.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from optuna.trial import FrozenTrial

from project.config.check import Config
from project.core.console import say
from project.core.errors import TrainingError
from project.core.statistics import Estimate, estimate, paired_difference
from project.evaluate import evaluate
from project.sweep.plan import decode
from project.sweep.search import Search
from project.tracking.find import RunInfo, children
from project.tracking.models import Registration, register
from project.tracking.run import Run
from project.workers.jobs import close_abandoned, train_all
from project.workers.pool import Pool


@dataclass(frozen=True)
class Setting:
    """One of the best trials, with the scores of its retrained runs by id; empty if it has none."""

    trial: FrozenTrial
    runs: Mapping[str, float]

    @property
    def estimate(self) -> Estimate:
        """Mean score and its interval; without fresh seeds the score of the search."""
        return estimate([*self.runs.values()] or [self.trial.value or 0.0])

    def __str__(self) -> str:
        result = self.estimate
        if math.isnan(result.low):
            return f"{result.mean:.4f}" + (" with one fresh seed" if self.runs else "")
        interval = f"95 % interval {result.low:.4f} to {result.high:.4f}"
        return f"{result.mean:.4f} ({interval}, {len(self.runs)} fresh seeds)"

    @property
    def values(self) -> dict[str, Any]:
        """Searched values by key of the config."""
        return decode(self.trial.params)


@dataclass(frozen=True)
class Winner:
    """Result of a sweep."""

    study: str
    parent_id: str  # of the study's run in MLflow
    score_name: str  # validation metric that decides
    settings: Sequence[Setting]  # the best mean first
    difference: Estimate | None  # first minus second, paired by seed, positive if it is better
    run_id: str  # of the best run of the first setting
    registration: Registration
    test_metrics: Mapping[str, float]
    config: Config  # of that run, for ``make train``
    command: str  # trains that run again

    @property
    def verdict(self) -> str:
        """Whether the winner is better than the second, in words."""
        first, *others = (f"trial {setting.trial.number}" for setting in self.settings)
        if self.difference is None:
            return f"{first} was not compared with another setting"
        mean, low, high = self.difference.mean, self.difference.low, self.difference.high
        if math.isnan(low):
            return f"{first} and {others[0]}: not separable, one seed is not enough to tell"
        interval = f"(paired difference {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f})"
        if self.difference.excludes_zero:
            return f"{first} is better than {others[0]} {interval}"
        return f"{first} and {others[0]}: not separable {interval}"

    @property
    def registered(self) -> str:
        """Name, version and alias of the registered model, in words."""
        model = self.registration
        return f"registered as {model.name} version {model.version}, {model.alias}: {model.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields of ``--json``."""
        first, result = self.settings[0], self.settings[0].estimate
        return {
            "study": self.study,
            "trial": first.trial.number,
            "params": first.values,
            "score_name": f"val/{self.score_name}",
            "scores": list(first.runs.values()),
            "mean": result.mean,
            "interval": None if math.isnan(result.low) else [result.low, result.high],
            "difference": self.difference,
            "verdict": self.verdict,
            "run_id": self.run_id,
            "test_metrics": self.test_metrics,
            "registered": self.registration,
            "command": self.command,
        }


def find_winner(search: Search, pool: Pool) -> Winner:
    """Retrains the best settings of a finished search, evaluates the winner once, registers it."""
    best, plan, mode = search.best(), search.study.plan, search.study.mode
    if not best:
        text = f"none of its {len(search.finished())} trials is complete"
        raise TrainingError(f"study {search.study.name}: {text}")
    difference = None
    if not plan.settings.top_k:  # the winner is the best trial itself
        settings, run_id = [Setting(best[0], {})], _add_model(search, pool, best[0])
    else:
        settings = _retrain(search, pool, best)
        scores = [list(setting.runs.values()) for setting in settings[:2]]
        if len(scores) == 2:
            difference = paired_difference(*(scores if mode == "max" else reversed(scores)))
        runs = settings[0].runs
        run_id = (max if mode == "max" else min)(runs, key=runs.__getitem__)
    run = Run(run_id)
    if f"test/{search.score_name}" not in run.mlflow_run.data.metrics:
        evaluate(run_id)
    metrics, config = run.mlflow_run.data.metrics, run.config()
    config.trainer.devices = "auto"
    return Winner(
        study=search.study.name,
        parent_id=search.parent.id,
        score_name=search.score_name,
        settings=settings,
        difference=difference,
        run_id=run_id,
        registration=register(run, search.score_name),
        test_metrics={k: v for k, v in metrics.items() if k.startswith("test/")},
        config=config,
        command=make_command(plan.overrides, config, settings[0].values),
    )


def _retrain(search: Search, pool: Pool, best: list[FrozenTrial]) -> list[Setting]:
    """Retrains the best; returns those that all fresh seeds could train, the best mean first."""
    config, settings = search.study.plan.config, search.study.plan.settings
    trials, num_seeds = best[: settings.top_k], settings.seeds
    # Without the search's own seed, with which the best were lucky.
    seeds = [(config.seed + 1 + index) % 2**32 for index in range(num_seeds)]
    jobs = [search.make_job(trial, seed=seed) for seed in seeds for trial in trials]
    description = f"the best {len(trials)} settings with {num_seeds} fresh seeds each"
    runs = train_all(pool, jobs, partial(_retrained_runs, search), description)
    retrained = []
    for trial in trials:
        own = [run for seed in seeds if (run := runs.get((trial.number, seed)))]
        finished = [run for run in own if run.status == "FINISHED"]
        scores = {run.id: run.metrics[f"best/{search.score_name}"] for run in finished}
        if len(scores) == num_seeds:
            retrained.append(Setting(trial, scores))
        else:
            say(f"trial {trial.number} is skipped: it failed with one of the fresh seeds")
    if not retrained:
        raise TrainingError(f"study {search.study.name}: none of the best could be retrained")
    sign = -1 if search.study.mode == "max" else 1
    return sorted(retrained, key=lambda each: (sign * each.estimate.mean, each.trial.number))


def _retrained_runs(search: Search) -> dict[tuple[int, int], RunInfo]:
    """Returns the retrained runs by trial and seed; the last one where there are several."""
    runs = [run for run in children(search.parent) if "sweep.retrain" in run.tags]
    return {(int(run.tags["sweep.retrain"]), int(run.tags["sweep.seed"])): run for run in runs}


def close_abandoned_runs(search: Search) -> None:
    """Closes retrained runs that a killed process has left RUNNING."""
    with search.study.lock("winner", timeout=0) as is_held:  # else another process trains them
        if is_held:
            close_abandoned(_retrained_runs(search))


def _add_model(search: Search, pool: Pool, trial: FrozenTrial) -> str:
    """Adds model and figures to the run of a trial, which trials go without; returns its id."""
    run_id = search.find_run(trial.number)
    assert run_id is not None

    def has_model() -> bool:
        outputs = Run(run_id).mlflow_run.outputs
        return bool(outputs and outputs.model_outputs)

    if not has_model():
        job = replace(search.make_job(trial, run_id), log_model=True, is_pruned=False)
        train_all(pool, [job], dict, "model and figures")
        if not has_model():
            raise TrainingError(f"trial {trial.number}: its model could not be saved")
    return run_id


def make_command(overrides: Sequence[str], config: Config, values: Mapping[str, Any]) -> str:
    """Returns the `make train` command of a run with searched values in a sweep with overrides."""
    variables = {
        **{"data": "DATA", "model": "MODEL", "experiment": "EXPERIMENT"},
        **{"data.root": "ROOT", "data.file": "FILE", "data.target": "TARGET", "seed": "SEED"},
    }
    chosen, rest = {}, []
    for line in overrides:
        key, _, value = line.partition("=")
        bare = key.lstrip("+~")
        if key.startswith("data.") and key in variables:
            chosen[key] = shlex.quote(str(config.data[key.removeprefix("data.")]))
        elif key in variables:
            chosen[key] = value
        elif bare.split(".")[0] not in ("sweep", "search", "seed") and bare not in values:
            rest.append(line)
    chosen["seed"] = str(config.seed)
    named = " ".join(f"{variables[key]}={chosen[key]}" for key in variables if key in chosen)
    for key, value in values.items():
        is_nested = isinstance(value, (list, dict))
        text = json.dumps(value, separators=(",", ":")).replace('"', "'")
        rest.append(f"{key}={text if is_nested else value}")
    quote = "'" if '"' in " ".join(rest) else '"'
    return f"make train {named} ARGS={quote}{' '.join(rest)}{quote}"
