"""What a sweep leaves in its parent run: trials, figures, an interactive page and the winner."""

import csv
import io
import json
import math
from collections.abc import Sequence

import optuna.visualization as interactive
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from project.sweep.figures import EVALUATOR, draw_figures, has_importances
from project.sweep.search import Search
from project.sweep.winner import Winner
from project.tracking.find import children

PAIR = ("optimizer.lr", "optimizer.weight_decay")  # keys of the contour, where both are searched
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def log_trials(search: Search) -> None:
    """Logs table, figures and interactive page of the finished trials to the parent run."""
    finished = search.finished()
    if not finished:
        return
    pair, metric = _contour_keys(search), f"val/{search.score_name}"
    keys = list(search.space.distributions)
    search.parent.log_text(_to_csv(search, finished), "trials.csv")
    search.parent.log_figures(draw_figures(search.study.optuna, keys, pair, metric))
    search.parent.log_text(_page(search, pair, metric), "figures/interactive.html")


def log_winner(search: Search, winner: Winner) -> None:
    """Logs the winner's config, scores and tags to the parent run."""
    parent, first = search.parent, winner.trials[0]
    score = f"val/{search.score_name} {_describe(winner, first)}"
    text = yaml.safe_dump(winner.config.model_dump(), sort_keys=False)
    head = f"# {winner.command}\n# Trial {first.number} of study {search.study.name}: {score}.\n"
    parent.log_text(f"# @package _global_\n{head}{text}", "best.yaml")
    rows = [
        {
            "trial": trial.number,
            "search": trial.value,
            "mean": winner.estimate(trial).mean,
            "scores": winner.scores(trial),
            "params": trial.params,
        }
        for trial in winner.trials
    ]
    parent.log_text(json.dumps(rows, indent=2), "winner.json")
    registered = winner.registration
    note = (
        f"{winner.verdict}\n\n{score}\n\n{registered.name} version {registered.version} is "
        f"{registered.alias}: {registered.reason}\n\n`{winner.command}`"
    )
    parent.set_tags(
        {
            "winner.trial": first.number,
            "winner.run": winner.run_id,
            "winner.verdict": winner.verdict,
            "mlflow.note.content": note,
        }
    )


def _describe(winner: Winner, trial: FrozenTrial) -> str:
    result, num_seeds = winner.estimate(trial), len(winner.scores(trial))
    if math.isnan(result.low):
        return f"{result.mean:.4f}" + (" with one fresh seed" if num_seeds else "")
    interval = f"95 % interval {result.low:.4f} to {result.high:.4f}"
    return f"{result.mean:.4f} ({interval}, {num_seeds} fresh seeds)"


def _contour_keys(search: Search) -> Sequence[str]:
    """Two numeric keys; empty if fewer are searched."""
    distributions = search.space.distributions
    numeric = [k for k, d in distributions.items() if not isinstance(d, CategoricalDistribution)]
    if set(PAIR) <= set(numeric):
        return PAIR
    return numeric[:2] if len(numeric) > 1 else ()


def _to_csv(search: Search, finished: Sequence[FrozenTrial]) -> str:
    """One line per trial, with the id of its run in MLflow."""
    runs = {
        run.tags["sweep.trial"]: run for run in children(search.parent) if "sweep.trial" in run.tags
    }
    keys = list(search.space.distributions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    score = f"val/{search.score_name}"
    writer.writerow(["trial", "state", score, "epochs", "seconds", *keys, "run_id", "reason"])
    for trial in sorted(finished, key=lambda trial: trial.number):
        run = runs.get(str(trial.number))
        tags = run.tags if run else {}
        values = search.space.values(trial.params)
        writer.writerow(
            [
                trial.number,
                STATES[trial.state],
                "" if trial.value is None else trial.value,
                trial.last_step or 0,
                f"{trial.duration.total_seconds():.1f}" if trial.duration else "",
                *(values.get(key, "") for key in keys),
                run.id if run else "",
                tags.get("failure", tags.get("pruned", "")),
            ]
        )
    return text.getvalue()


def _page(search: Search, pair: Sequence[str], metric: str) -> str:
    """Optuna's interactive figures in one HTML page.

    MLflow shows an artifact by itself, and the page must open without a network: it therefore
    contains plotly's script, once.
    """
    study = search.study.optuna
    plots = [
        interactive.plot_optimization_history(study, target_name=metric),
        interactive.plot_intermediate_values(study),
        interactive.plot_slice(study, target_name=metric),
        interactive.plot_timeline(study),
    ]
    if pair:
        plots.append(interactive.plot_contour(study, params=list(pair), target_name=metric))
    if has_importances(study):
        evaluator = PedAnovaImportanceEvaluator()
        name = f"{metric}, {EVALUATOR}"
        plots.append(
            interactive.plot_param_importances(study, evaluator=evaluator, target_name=name)
        )
    parts = [plot.to_html(full_html=False, include_plotlyjs=not i) for i, plot in enumerate(plots)]
    return (
        f"<!doctype html><html><head><meta charset='utf-8'><title>{search.study.name}</title>"
        f"</head><body>{''.join(parts)}</body></html>"
    )
