"""Trains the runs that are nested under a parent: what is finished is not done again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from project.core.console import say
from project.tracking import group
from project.tracking.group import Child
from project.workers.pool import Job, Outcome, Pool

MAX_LOSSES = 2  # times that a run is begun again whose process was killed

Find = Callable[[], Mapping[Any, Child]]


def train_nested(pool: Pool, jobs: Sequence[Job], find: Find, what: str) -> Mapping[Any, Child]:
    """Trains what isn't FINISHED, each interrupted run from its checkpoint.

    Args:
        pool: of workers.
        jobs: all of them.
        find: the runs that there are in MLflow, by the name of their job.
        what: they are, in words.

    Returns:
        The runs that there are afterwards.
    """
    done = find()
    waiting = []
    for job in jobs:
        before = done.get(job.name)
        if before is None or before.status != "FINISHED":
            waiting.append(replace(job, resume=before.id if before else None))
    if waiting:
        say(f"{len(waiting)} of {len(jobs)} runs to train: {what}")
    losses: dict[Any, int] = {}
    total, ended = len(waiting), 0

    def end(job: Job, outcome: Outcome) -> None:
        nonlocal ended
        name = job.tags["mlflow.runName"]
        if outcome.status == "lost" and losses.setdefault(job.name, 0) < MAX_LOSSES:
            losses[job.name] += 1
            before = find().get(job.name)
            if before is not None:
                group.close(before.id, "KILLED", f"interrupted: {outcome.reason}")
            say(f"{name}  interrupted ({outcome.reason}), it is taken up again")
            waiting.append(replace(job, resume=before.id if before else None))
        elif outcome.status != "stopped":
            ended += 1
            what = f"failed: {outcome.reason}"
            if outcome.result is not None:
                what = f"{outcome.result.score_name} {outcome.result.score:.4f}"
            elif outcome.status == "lost" and (before := find().get(job.name)) is not None:
                group.close(before.id, "FAILED", outcome.reason)
            say(f"{name}  {what}  {outcome.seconds:.0f} s  [{ended}/{total}]")

    try:
        pool.run(lambda: waiting.pop(0) if waiting else None, end)
    except BaseException:
        pool.stop(end)
        raise
    return find()


def close_abandoned(runs: Mapping[Any, Child]) -> None:
    """Closes runs that a killed process has left RUNNING; nobody else may be training them."""
    for run in runs.values():
        if run.status == "RUNNING":
            group.close(run.id, "KILLED", "interrupted: its process is gone")
