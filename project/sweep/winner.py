"""What comes after a search: the best settings trained again over fresh seeds, and the winner.

One search has one seed, and its best score is the luckiest of many: the ranking is done again with
seeds that the search has not seen. Nothing here looks at the test set until the winner is known.
"""

import json
import math
import shlex
import sys
from dataclasses import dataclass, replace
from typing import Any

import yaml
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from project.config.check import Config, check
from project.core.console import say
from project.core.errors import TrainingError
from project.core.statistics import Estimate, estimate, paired_difference
from project.evaluate import open_test_set
from project.sweep.search import Search, short
from project.tracking.find import RunInfo, children
from project.tracking.registry import Registration, register
from project.tracking.run import PARENT, Run
from project.workers.jobs import close_abandoned, train_all
from project.workers.pool import Pool
from project.workers.worker import Job, Outcome


@dataclass(frozen=True)
class Setting:
    """One of the best settings.

    Attributes:
        trial: of the search, which found it.
        scores: on val, one a fresh seed; empty if it was not trained again.
        run_ids: of them, in the same order.
    """

    trial: FrozenTrial
    scores: tuple[float, ...]
    run_ids: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Over the fresh seeds; the search's own score if there are none."""
        return estimate(self.scores).mean if self.scores else float(self.trial.value or 0.0)


@dataclass(frozen=True)
class Winner:
    """What a sweep comes to.

    Attributes:
        settings: the best mean first.
        run_id: the best run of the first setting.
        difference: of its scores to the next one's, seed by seed, positive if better; None if
            there is no next.
        registration: of its model.
        config: of that run, ready for ``make train``.
    """

    settings: tuple[Setting, ...]
    run_id: str
    difference: Estimate | None
    registration: Registration
    config: Config

    @property
    def verdict(self) -> str:
        """Whether the winner is better than the next, in words."""
        first, *others = self.settings
        name = f"trial {first.trial.number}"
        if not others or self.difference is None:
            return f"{name} was not compared with another setting"
        against = f"trial {others[0].trial.number}"
        difference = self.difference
        if math.isnan(difference.low):
            return f"{name} and {against}: not separable, from one seed nobody can tell"
        interval = f"{difference.mean:+.4f}, 95 % interval {difference.low:+.4f} to "
        interval += f"{difference.high:+.4f}"
        if difference.excludes_zero:
            return f"{name} is better than {against} (paired difference {interval})"
        return f"{name} and {against}: not separable (paired difference {interval})"


def find_winner(search: Search, pool: Pool, top_k: int, num_seeds: int) -> Winner:
    """Trains the best settings again, picks the winner, evaluates it once and registers it.

    What was done before, in an earlier start, is not done again.

    Args:
        search: that is over.
        pool: of workers.
        top_k: settings that are trained again; 0 leaves it at the best trial.
        num_seeds: for each of them.

    Raises:
        TrainingError: no trial was complete, or no setting could be trained again.
    """
    best = search.best()
    if not best:
        raise TrainingError(
            f"study {search.study.name}: none of its {len(search.finished())} trials is complete"
        )
    if top_k:
        settings = _train_again(search, pool, best[:top_k], num_seeds)
    else:
        settings = [_finish(search, pool, best[0])]
    sign = 1 if search.mode == "max" else -1
    settings.sort(key=lambda setting: (-sign * setting.mean, setting.trial.number))
    first = settings[0]
    runs = zip(first.scores or (first.mean,), first.run_ids, strict=True)
    _, run_id = max(runs, key=lambda pair: sign * pair[0])
    difference = None
    if len(settings) > 1 and first.scores:
        scores = [[sign * score for score in each.scores] for each in settings[:2]]
        difference = paired_difference(*scores)
    run = Run(run_id)
    if f"test/{search.score_name}" not in run.mlflow_run.data.metrics:
        open_test_set(run_id)
    registration = register(run, search.score_name, search.mode)
    settled = run.config().model_dump()
    settled["trainer"]["devices"] = "auto"
    return Winner(tuple(settings), run_id, difference, registration, check(settled))


def _train_again(
    search: Search, pool: Pool, trials: list[FrozenTrial], num_seeds: int
) -> list[Setting]:
    # Not the search's own seed, of which the best have had the luck.
    seeds = [(search.config.seed + 1 + index) % 2**32 for index in range(num_seeds)]
    # Of all settings first one seed, then the next.
    jobs = [_job(search, trial, seed) for seed in seeds for trial in trials]
    what = f"the best {len(trials)} settings again, {num_seeds} fresh seeds each"
    done = train_all(pool, jobs, lambda: _retrained(search), what)
    settings = []
    for trial in trials:
        runs = [done.get((trial.number, seed)) for seed in seeds]
        finished = [run for run in runs if run is not None and run.status == "FINISHED"]
        if len(finished) < num_seeds:
            say(f"trial {trial.number} is left out: it failed with another seed")
            continue
        scores = tuple(run.metrics[f"best/{search.score_name}"] for run in finished)
        settings.append(Setting(trial, scores, tuple(run.id for run in finished)))
    if not settings:
        raise TrainingError(f"study {search.study.name}: none of the best could be trained again")
    return settings


def _job(search: Search, trial: FrozenTrial, seed: int) -> Job:
    config = search.space.apply(search.config, trial.params)
    return Job(
        name=(trial.number, seed),
        config={**config, "seed": seed},
        tags={
            PARENT: search.parent.id,
            "mlflow.runName": f"trial {trial.number}, seed {seed}",
            "sweep.study": search.study.name,
            "sweep.retrain": str(trial.number),
            "sweep.seed": str(seed),
        },
    )


def _retrained(search: Search) -> dict[tuple[int, int], RunInfo]:
    """Runs with fresh seeds, by trial and seed; the last where there are several."""
    return {
        (int(run.tags["sweep.retrain"]), int(run.tags["sweep.seed"])): run
        for run in children(search.parent)
        if "sweep.retrain" in run.tags
    }


def _finish(search: Search, pool: Pool, trial: FrozenTrial) -> Setting:
    """Gives the best trial's run the model and the figures that trials go without."""
    run_id = search.find_run(trial.number)
    assert run_id is not None
    outputs = Run(run_id).mlflow_run.outputs
    if outputs is None or not outputs.model_outputs:
        job = search.job_of(trial.number, trial.params, run_id)
        jobs = [replace(job, log_model=True, is_pruned=False)]
        outcomes: list[Outcome] = []
        pool.run(
            lambda: jobs.pop() if jobs else None, lambda job, outcome: outcomes.append(outcome)
        )
        if outcomes[0].result is None:
            raise TrainingError(f"trial {trial.number}: {outcomes[0].reason}")
    return Setting(trial, (), (run_id,))


def close_abandoned_runs(search: Search) -> None:
    """Closes runs with fresh seeds that a killed process has left RUNNING."""
    with search.study.lock("winner", timeout=0) as is_mine:  # else another is training them
        if is_mine:
            close_abandoned(_retrained(search))


def log_winner(search: Search, winner: Winner, command: str) -> None:
    """Logs to the parent what the winner is, and how to train it again."""
    parent, first = search.parent, winner.settings[0]
    head = (
        "# @package _global_\n"
        f"# {command}\n"
        f"# Trial {first.trial.number} of study {search.study.name}: val/{search.score_name} "
        f"{_describe(first)}.\n"
    )
    text = yaml.safe_dump(winner.config.model_dump(), sort_keys=False)
    parent.log_text(head + text, "best.yaml")
    rows = [
        {
            "trial": setting.trial.number,
            "search": setting.trial.value,
            "mean": setting.mean,
            "scores": list(setting.scores),
            "params": setting.trial.params,
        }
        for setting in winner.settings
    ]
    parent.log_text(json.dumps(rows, indent=2), "winner.json")
    registration = winner.registration
    parent.set_tags(
        {
            "winner.trial": first.trial.number,
            "winner.run": winner.run_id,
            "winner.verdict": winner.verdict,
            "mlflow.note.content": (
                f"{winner.verdict}\n\nval/{search.score_name} {_describe(first)}\n\n"
                f"{registration.name} version {registration.version} is {registration.alias}: "
                f"{registration.reason}\n\n`{command}`"
            ),
        }
    )


def show(search: Search, winner: Winner, command: str) -> None:
    """Prints the best settings, the verdict and what to do next."""
    title = f"val/{search.score_name} of the best settings of study {search.study.name}"
    table = Table(title=title, title_justify="left")
    keys = list(winner.settings[0].trial.params)
    names = ("trial", "search", "fresh seeds", "95 % interval")
    for name in (*names, *(key.rpartition(".")[2] for key in keys)):
        table.add_column(name, justify="right", no_wrap=True)
    for setting in winner.settings:
        sure = estimate(setting.scores) if setting.scores else None
        interval = f"{sure.low:.4f} to {sure.high:.4f}" if sure and len(setting.scores) > 1 else ""
        values = search.space.values(setting.trial.params)
        table.add_row(
            str(setting.trial.number),
            f"{setting.trial.value:.4f}",
            f"{sure.mean:.4f}" if sure else "",
            interval,
            *(short(values[key]) for key in keys),
        )
    # Without a terminal rich takes 80 columns and cuts off what doesn't fit.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print()
    console.print(table)
    registration = winner.registration
    print(f"\n{winner.verdict}")
    tested = Run(winner.run_id).mlflow_run.data.metrics
    name = f"test/{search.score_name}"
    if name in tested:
        interval = ""
        if f"{name}_low" in tested:
            interval = f" (95 % Wilson {tested[f'{name}_low']:.4f} to {tested[f'{name}_high']:.4f})"
        print(f"{name} {tested[name]:.4f}{interval} of its best run, {winner.run_id}")
    print(
        f"registered as {registration.name} version {registration.version}, "
        f"{registration.alias}: {registration.reason}\n\n"
        f"  {command}\n"
        f"  make ui    look at run {search.parent.id}"
    )


def _describe(setting: Setting) -> str:
    if not setting.scores:
        return f"{setting.mean:.4f}"
    sure = estimate(setting.scores)
    if len(setting.scores) == 1:
        return f"{sure.mean:.4f} with one fresh seed"
    return (
        f"{sure.mean:.4f} (95 % interval {sure.low:.4f} to {sure.high:.4f}, "
        f"{len(setting.scores)} fresh seeds)"
    )


def train_command(overrides: list[str], config: Config, values: dict[str, Any]) -> str:
    """The `make train` command of a setting.

    Args:
        overrides: of the sweep's own command line.
        config: of the run.
        values: that were searched, by key.
    """
    variables = {"data": "DATA", "model": "MODEL", "experiment": "EXPERIMENT"}
    own = {"data.root": "ROOT", "data.file": "FILE", "data.target": "TARGET"}
    parts, rest = {"SEED": str(config.seed)}, []
    for line in overrides:
        key, _, value = line.partition("=")
        bare = key.lstrip("+~")
        if key in variables:
            parts[variables[key]] = value
        elif key in own:
            parts[own[key]] = shlex.quote(str(config.data[key.removeprefix("data.")]))
        elif bare.split(".")[0] not in ("sweep", "search", "seed") and bare not in values:
            rest.append(line)
    rest += [f"{key}={_yaml(value)}" for key, value in values.items()]
    names = (*variables.values(), *own.values(), "SEED")
    chosen = [f"{name}={parts[name]}" for name in names if name in parts]
    text = " ".join(rest)
    quote = "'" if '"' in text else '"'
    return f"make train {' '.join(chosen)} ARGS={quote}{text}{quote}"


def _yaml(value: Any) -> str:
    is_nested = isinstance(value, (list, dict))
    return json.dumps(value, separators=(",", ":")).replace('"', "'") if is_nested else str(value)
