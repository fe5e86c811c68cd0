"""The command sweep: a search on workers, its report and its winner."""

import math

from rich.box import SIMPLE
from rich.table import Table

from project.core.console import say, stdout
from project.core.signals import stoppable
from project.sweep.plan import SweepPlan
from project.sweep.report import log_trials, log_winner
from project.sweep.search import short
from project.sweep.setup import open_search
from project.sweep.winner import Winner, close_abandoned_runs, find_winner
from project.workers.capacity import choose_workers
from project.workers.pool import Pool

DAY = 24 * 3600  # seconds


def sweep(plan: SweepPlan) -> Winner:
    """Searches for the best settings with Optuna and tracks every trial in MLflow.

    The same command resumes an interrupted study; on another machine it joins the study, if both
    reach ``sweep.storage=postgresql://...``.

    Args:
        plan: Sweep to run.

    Raises:
        UserError: Plan, data and machine don't fit together; nothing was written.
        TrainingError: No trial could be completed.
    """
    settings = plan.settings
    with stoppable():
        num_workers, devices = choose_workers(
            settings.workers, plan.config.trainer, settings.devices_per_trial
        )
        search = open_search(plan, devices)
        with search.parent.running():
            search.release_orphans()
            close_abandoned_runs(search)
            left = max(0, search.study.num_trials - len(search.finished()))
            num_workers = max(1, min(num_workers, max(left, settings.top_k * settings.seeds)))
            say(
                f"study {search.study.name}: {left} of {search.study.num_trials} trials left, "
                f"{num_workers} workers on {devices} each"
            )
            with Pool(num_workers, devices) as pool:
                search.run(pool, settings.timeout)
                # One process retrains and evaluates; others wait here and find its results.
                with search.study.lock("winner", timeout=DAY):
                    log_trials(search)
                    winner = find_winner(search, pool, plan)
                    log_winner(search, winner)
    return winner


def show(winner: Winner) -> None:
    """Prints the best settings, the verdict and what to do next."""
    table = Table(
        title=f"val/{winner.score_name} of the best settings of study {winner.study}",
        title_justify="left",
        box=SIMPLE,
    )
    for name in ("trial", "search", "fresh seeds", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for trial in winner.trials:
        result = winner.estimate(trial)
        has_interval = not math.isnan(result.low)
        values = winner.values[trial.number]
        table.add_row(
            str(trial.number),
            f"{trial.value:.4f}",
            f"{result.mean:.4f}" if winner.scores(trial) else "",
            f"{result.low:.4f} to {result.high:.4f}" if has_interval else "",
            "\n".join(f"{key.rpartition('.')[2]} {short(value)}" for key, value in values.items()),
        )
    console = stdout()
    console.print(table)
    print(winner.verdict)
    name = f"test/{winner.score_name}"
    if (score := winner.test_metrics.get(name)) is not None:
        interval = ""
        if (low := winner.test_metrics.get(f"{name}_low")) is not None:
            high = winner.test_metrics[f"{name}_high"]
            interval = f" (95 % Wilson interval {low:.4f} to {high:.4f})"
        print(f"{name} {score:.4f}{interval}, best run {winner.run_id}")
    registered = winner.registration
    print(
        f"registered as {registered.name} version {registered.version}, "
        f"{registered.alias}: {registered.reason}\n\n"
        f"  {winner.command}\n"
        f"  make ui    shows run {winner.parent_id}"
    )
