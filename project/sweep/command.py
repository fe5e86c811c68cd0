"""The command sweep: a search on workers, its report and its winner."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.box import SIMPLE
from rich.table import Table

from project.core.console import say, stdout
from project.core.signals import stoppable
from project.sweep.figures import draw_figures, make_page
from project.sweep.plan import SweepPlan, decode
from project.sweep.search import Search, short
from project.sweep.setup import open_search
from project.sweep.storage import reachable
from project.sweep.winner import Winner, close_abandoned_runs, find_winner
from project.tracking.description import describe_parent
from project.tracking.find import children
from project.tracking.labels import DESCRIPTION
from project.workers.pool import Pool, choose_workers

PAIR = ["optimizer.lr", "optimizer.weight_decay"]  # keys of the contour, where both are searched
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def sweep(plan: SweepPlan, tags: Mapping[str, str] | None = None) -> Winner:
    """Searches for the best settings with Optuna and tracks every trial in MLflow.

    The same command resumes an interrupted study; on another machine it joins the study, if both
    reach ``sweep.storage=postgresql://...``.

    Args:
        plan: Sweep to run.
        tags: Additional tags of the parent run.

    Raises:
        UserError: Plan, data and machine don't fit together; nothing was written.
        TrainingError: No trial could be completed.
    """
    settings, trainer = plan.settings, plan.config.trainer
    with stoppable():
        most, devices = choose_workers(settings.workers, trainer, settings.devices_per_trial)
        search = open_search(plan, devices)
        study = search.study
        search.parent.set_tags(tags or {})
        with search.parent.running(), reachable():
            search.release_orphans()
            close_abandoned_runs(search)
            left = max(0, study.num_trials - len(search.finished()))
            num_workers = max(1, min(most, max(left, settings.top_k * settings.seeds)))
            text = f"{left} of {study.num_trials} trials left, {num_workers} workers on {devices}"
            say(f"study {study.name}: {text} each")
            with Pool(num_workers, devices) as pool:
                search.run(pool, settings.timeout)
                # One process retrains and evaluates; others wait here and find its results.
                with study.lock("winner", timeout=24 * 3600):
                    _log_trials(search)
                    winner = find_winner(search, pool)
                    _log_winner(search, winner)
    return winner


def show(winner: Winner) -> None:
    """Prints the best settings, the verdict and what to do next."""
    title = f"val/{winner.score_name} of the best settings of study {winner.study}"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for column in ("trial", "search", "fresh seeds", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for setting in winner.settings:
        trial, result = setting.trial, setting.estimate
        table.add_row(
            str(trial.number),
            f"{trial.value:.4f}",
            f"{result.mean:.4f}" if setting.runs else "",
            "" if math.isnan(result.low) else f"{result.low:.4f} to {result.high:.4f}",
            "\n".join(f"{k.rpartition('.')[2]} {short(v)}" for k, v in setting.values.items()),
        )
    stdout().print(table)
    print(winner.verdict)
    name, metrics = f"test/{winner.score_name}", winner.test_metrics
    if name in metrics:
        interval = ""
        if f"{name}_low" in metrics:
            low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
            interval = f" (95 % Wilson interval {low:.4f} to {high:.4f})"
        print(f"{name} {metrics[name]:.4f}{interval}, best run {winner.run_id}")
    print(f"{winner.registered}\n\n  {winner.command}\n  make ui    shows run {winner.parent_id}")


def _log_trials(search: Search) -> None:
    """Logs table, figures and interactive page of the finished trials to the parent run."""
    finished = search.finished()
    if not finished:
        return
    searched, metric = search.study.plan.space.distributions, f"val/{search.score_name}"
    numeric = [k for k, each in searched.items() if not isinstance(each, CategoricalDistribution)]
    pair = PAIR if set(PAIR) <= set(numeric) else numeric[:2] if len(numeric) > 1 else []
    table = pd.DataFrame(_rows(search, finished))
    search.parent.log_text(table.to_csv(index=False), "trials.csv")
    study = search.study.optuna
    search.parent.log_figures(draw_figures(study, list(searched), pair, metric))
    search.parent.log_text(make_page(study, pair, metric), "figures/interactive.html")


def _log_winner(search: Search, winner: Winner) -> None:
    """Logs the winner's config, scores and tags to the parent run."""
    parent, number = search.parent, winner.settings[0].trial.number
    score = f"val/{search.score_name} {winner.settings[0]}"
    text = yaml.safe_dump(winner.config.model_dump(), sort_keys=False)
    head = f"# {winner.command}\n# Trial {number} of study {search.study.name}: {score}.\n"
    parent.log_text(f"# @package _global_\n{head}{text}", "best.yaml")
    rows = [
        {
            "trial": setting.trial.number,
            "search": setting.trial.value,
            "mean": setting.estimate.mean,
            "scores": list(setting.runs.values()),
            "params": setting.trial.params,
        }
        for setting in winner.settings
    ]
    parent.log_text(json.dumps(rows, indent=2), "winner.json")
    note = f"{winner.verdict}\n\n{score}\n\n{winner.registered}\n\n`{winner.command}`"
    tags = {"trial": number, "run": winner.run_id, "verdict": winner.verdict}
    tags = {f"winner.{name}": value for name, value in tags.items()}
    description = describe_parent(parent.mlflow_run, note, winner.run_id)
    parent.set_tags({**tags, DESCRIPTION: description})


def _rows(search: Search, finished: Sequence[FrozenTrial]) -> Iterator[dict[str, Any]]:
    """One row per trial, with the id of its run in MLflow."""
    runs = {run.tags.get("sweep.trial"): run for run in children(search.parent)}
    for trial in sorted(finished, key=lambda trial: trial.number):
        run = runs.get(str(trial.number))
        tags = run.tags if run else {}
        yield {
            "trial": trial.number,
            "state": STATES[trial.state],
            f"val/{search.score_name}": trial.value,
            "epochs": trial.last_step or 0,
            "seconds": f"{trial.duration.total_seconds():.1f}" if trial.duration else "",
            **decode(trial.params),
            "run_id": run.id if run else "",
            "reason": tags.get("failure", tags.get("pruned", "")),
        }
