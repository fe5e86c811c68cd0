"""What a search looks like: figures, an interactive page, and the table of its trials."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import optuna.visualization as interactive
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from project.figures import search as figures
from project.sweep.search import Search
from project.tracking.find import children

EVALUATOR = "PED-ANOVA"
PAIR = ("optimizer.lr", "optimizer.weight_decay")  # of the contour, where both are searched
STATES: dict[TrialState, Any] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def log_trials(search: Search) -> None:
    """Logs the table and the figures of the finished trials to the parent run."""
    finished = search.finished()
    if not finished:
        return
    search.parent.log_text(_table(search, finished), "trials.csv")
    search.parent.log_figures(_figures(search, finished))
    search.parent.log_text(_page(search), "figures/interactive.html")


def _table(search: Search, finished: list[FrozenTrial]) -> str:
    """CSV, a line a trial, with the id of its run in MLflow."""
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


def _figures(search: Search, finished: list[FrozenTrial]) -> Iterator[tuple[str, Figure]]:
    began = min(t.datetime_start for t in finished if t.datetime_start)
    trials = [
        figures.Trial(
            number=trial.number,
            state=STATES[trial.state],
            score=_score(trial),
            curve=dict(sorted(trial.intermediate_values.items())),
            params=search.space.values(trial.params),
            started=(trial.datetime_start - began).total_seconds(),
            ended=(trial.datetime_complete - began).total_seconds(),
        )
        for trial in finished
        if trial.datetime_start and trial.datetime_complete
    ]
    metric = f"val/{search.score_name}"
    distributions = search.space.distributions
    numbers = [k for k, d in distributions.items() if not isinstance(d, CategoricalDistribution)]
    logs = {key for key in numbers if getattr(distributions[key], "log", False)}
    best = search.best()
    yield "history", figures.history(trials, metric, search.mode)
    yield "slices", figures.slices(trials, list(distributions), logs, metric)
    yield (
        "intermediate_values",
        figures.intermediate_values(trials, metric, best[0].number if best else None),
    )
    yield "timeline", figures.timeline(trials)
    x, y = PAIR if set(PAIR) <= set(numbers) else (*numbers, "", "")[:2]
    if y:
        yield "contour", figures.contour(trials, x, y, logs, metric)
    if shares := _importances(search):
        yield "importance", figures.importance(shares, EVALUATOR)


def _importances(search: Search) -> dict[str, float]:
    """Empty where the scores don't differ, or are too few to tell."""
    scores = {trial.value for trial in search.study.trials(TrialState.COMPLETE)}
    if len(scores) < 2:
        return {}
    evaluator = PedAnovaImportanceEvaluator()
    return get_param_importances(search.study.optuna, evaluator=evaluator)


def _score(trial: FrozenTrial) -> float:
    if trial.value is not None and trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.last_step is not None:
        return trial.intermediate_values[trial.last_step]
    return float("nan")


def _page(search: Search) -> str:
    """Optuna's own figures, interactive, in one HTML page that needs no network."""
    study, name = search.study.optuna, f"val/{search.score_name}"
    plots = [
        interactive.plot_optimization_history(study, target_name=name),
        interactive.plot_intermediate_values(study),
        interactive.plot_slice(study, target_name=name),
        interactive.plot_timeline(study),
    ]
    if set(PAIR) <= set(search.space.distributions):
        plots.append(interactive.plot_contour(study, params=list(PAIR), target_name=name))
    if _importances(search):
        evaluator = PedAnovaImportanceEvaluator()
        plots.append(
            interactive.plot_param_importances(
                study, evaluator=evaluator, target_name=f"{name}, {EVALUATOR}"
            )
        )
    parts = [
        plot.to_html(full_html=False, include_plotlyjs=index == 0)
        for index, plot in enumerate(plots)
    ]
    return (
        f"<!doctype html><html><head><meta charset='utf-8'><title>{search.study.name}</title>"
        f"</head><body>{''.join(parts)}</body></html>"
    )
