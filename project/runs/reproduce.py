"""Trains a run again in a worktree with its code and packages, and compares the results."""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from rich.table import Table

from project import ROOT
from project.core.console import say, stdout
from project.core.errors import TrainingError, UserError
from project.core.types import RunId
from project.tracking.find import find_run
from project.tracking.lineage import packages, parse_packages, run_command
from project.tracking.run import Run
from project.tracking.store import experiment_name, tracking_uri


@dataclass(frozen=True)
class Reproduction:
    """Comparison of a run with its repetition; the first of each pair is the original's."""

    original: str
    run_id: str
    metrics: Mapping[str, tuple[float, float]]  # on val at the best epoch, by name
    devices: tuple[str, str]
    failure: str  # reason for exit code 1; empty if all metrics are equal bit for bit


def reproduce(run: RunId) -> Reproduction:
    """Trains a run again from what it has logged, and compares the results.

    Args:
        run: Finished run: its id, the first letters of it, or ``last``.

    Raises:
        UserError: The run is unknown, or its code is not in this repository.
        TrainingError: Training failed this time.
    """
    original = find_run(run)
    if (status := original.mlflow_run.info.status) != "FINISHED":
        raise UserError(f"run: {original.id}: it is {status}: expected a run that is FINISHED")
    with tempfile.TemporaryDirectory() as temporary, _worktree(Path(temporary), original):
        _install_packages(original, Path(temporary))
        again = Run(_train(original, Path(temporary)))
    again.set_tags({"reproduces": original.id})
    first, second = original.mlflow_run.data, again.mlflow_run.data
    metrics = {
        name.replace("best/", "val/"): (value, second.metrics.get(name, float("nan")))
        for name, value in first.metrics.items()
        if name.startswith("best/")
    }
    before, now = first.tags.get("device", ""), second.tags.get("device", "")
    failure = ""
    if any(one != other for one, other in metrics.values()):
        place = "on the same devices" if before == now else f"on {now} instead of {before}"
        failure = f"the results differ, {place}: see the metrics"
    return Reproduction(original.id, again.id, metrics, (before, now), failure)


def show(result: Reproduction) -> None:
    """Prints the metrics of both runs."""
    print(f"run {result.run_id} has trained run {result.original} again")
    if not result.failure:
        for name, (value, _) in result.metrics.items():
            print(f"  {name} {value:.6g}: equal, bit for bit")
        return
    table = Table("metric", "first", "again", "difference", box=None, pad_edge=False)
    for name, (first, second) in result.metrics.items():
        table.add_row(name, f"{first:.9g}", f"{second:.9g}", f"{second - first:+.3g}")
    stdout().print(table)


@contextmanager
def _worktree(folder: Path, run: Run) -> Iterator[None]:
    """Checks out the code of a run, with its uncommitted changes, into ``tree`` for the block."""
    path, patch = folder / "tree", folder / "uncommitted.diff"
    commit = run.mlflow_run.data.tags.get("mlflow.source.git.commit")
    if not commit:
        raise UserError(f"run: {run.id}: it was trained outside of git: expected one with a commit")
    if _git("cat-file", "-e", f"{commit}^{{commit}}"):
        fault = f"its commit {commit[:12]} isn't in this repository: expected a clone that has it"
        raise UserError(f"run: {run.id}: {fault}")
    try:
        if reason := _git("worktree", "add", "--detach", "--quiet", str(path), commit):
            raise TrainingError(f"run {run.id}: git can't check out its commit: {reason}")
        if changes := run.read_text("uncommitted.diff"):
            patch.write_bytes(changes.encode())
            if reason := _git("apply", "--whitespace=nowarn", str(patch), folder=path):
                raise UserError(f"run: {run.id}: its uncommitted changes don't apply: {reason}")
        # Link each download: git ignores a folder `data`, but not a link of that name.
        (path / "data").mkdir()
        for each in (ROOT / "data").glob("*"):
            (path / "data" / each.name).symlink_to(each)
        yield
    finally:
        _git("worktree", "unlock", str(path))  # An interrupted `add` has left it locked.
        _git("worktree", "remove", "--force", str(path))
        shutil.rmtree(path, ignore_errors=True)
        _git("worktree", "prune")


def _git(*arguments: str, folder: Path | None = None) -> str:
    """Runs git; returns its error message in one line, or nothing."""
    try:
        done = run_command(["git", *arguments], cwd=folder or ROOT, stderr=PIPE)
    except OSError as error:
        reason = f"can't be started ({error.strerror})"
        raise UserError(f"git: {reason}: expected git on PATH") from None
    if done.returncode == 0:
        return ""
    return " ".join(done.stderr.split()) or f"exit code {done.returncode}"


def _install_packages(run: Run, folder: Path) -> None:
    """Installs the packages that the run had in other versions into the folder ``packages``."""
    installed, wanted = map(parse_packages, (packages(), run.read_text("requirements.txt")))
    others = [
        f"{name}=={version}"
        for name, version in sorted(wanted.items())
        if installed.get(name) != version and name != "lightning-experiments"
    ]
    if not others:
        return
    say(f"installing the run's versions of other packages: {', '.join(others)}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--target", str(folder / "packages"), *others]
    done = run_command(command, stderr=PIPE)
    if done.returncode:
        reason = next(iter(done.stderr.strip().splitlines()[-1:]), "pip failed")
        raise TrainingError(f"the run's packages can't be installed: {reason}")


def _train(run: Run, folder: Path) -> str:
    """Trains in a process of its own with the run's code; returns the id of the new run."""
    config, tree = folder / "config.yaml", folder / "tree"
    config.write_text(run.read_text("config.yaml"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "packages"), str(tree)]),
        "MLFLOW_TRACKING_URI": tracking_uri(),
        "MLFLOW_EXPERIMENT_NAME": experiment_name(),
    }
    if threads := run.mlflow_run.data.tags.get("threads"):
        environment["OMP_NUM_THREADS"] = threads  # Sums depend on the number of threads.
    has_json = (tree / "project" / "__main__.py").exists()  # Older code prints text only.
    module = ["project", "train", "--json"] if has_json else ["project.train"]
    # -P keeps the code of the working folder out: paths in the config are relative to that folder.
    command = [sys.executable, "-P", "-m", *module, f"experiment={config}"]
    done = run_command(command, env=environment)
    if done.returncode == 0 and has_json:
        return str(json.loads(done.stdout)["run_id"])
    if done.returncode == 0 and (match := re.search(r"^run (\w{32})$", done.stdout, re.M)):
        return match[1]
    raise TrainingError(f"run {run.id} can't be trained again: exit code {done.returncode}")
