"""Trains a run again from what it has logged, and says whether the result is the same.

Usage: python -m project.runs.reproduce run=RUN

  run   of a finished run: its id, its first letters as `make runs` shows them, or last

In a clean worktree of the run's commit, with its uncommitted changes, its config and seed, its
packages: those that are installed here in another version are fetched into a folder of their own.
The new run is tagged `reproduces`. Exit code 0 if all metrics on val are equal bit for bit, else 1.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project import ROOT
from project.cli.command import run_command
from project.core.errors import TrainingError, UserError
from project.core.signals import stoppable

if TYPE_CHECKING:
    from project.tracking.run import Run


@dataclass(frozen=True)
class Reproduction:
    """What became of training a run again.

    Attributes:
        original: id of the run.
        run_id: of the new one.
        metrics: of the best epoch on val, of both.
        devices: that both were trained on.
    """

    original: str
    run_id: str
    metrics: Mapping[str, tuple[float, float]]
    devices: tuple[str, str]

    @property
    def is_equal(self) -> bool:
        """Whether every metric is the same, bit for bit."""
        return all(first == second for first, second in self.metrics.values())


def reproduce(run_id: str) -> Reproduction:
    """Trains a run again.

    Args:
        run_id: of a finished run, its beginning, or ``last``.

    Raises:
        UserError: there is no such run, or its code isn't in this repository any more.
        TrainingError: training failed this time.
    """
    from project.tracking.find import find_run
    from project.tracking.lineage import packages, parse_packages
    from project.tracking.run import Run

    with stoppable(), tempfile.TemporaryDirectory() as temporary:
        run = find_run(run_id)
        status = run.mlflow_run.info.status
        if status != "FINISHED":
            raise UserError(f"run: {run.id}: it is {status}: expected a run that is FINISHED")
        original = run.mlflow_run.data
        installed = parse_packages(packages())
        others = {
            name: version
            for name, version in parse_packages(run.read_text("requirements.txt")).items()
            if installed.get(name) != version and name != "lightning-experiments"
        }
        place = Path(temporary)
        commit = original.tags.get("mlflow.source.git.commit", "")
        changes = run.read_text("uncommitted.diff")
        with _worktree(place / "tree", run, commit, changes) as tree:
            if others:
                _install(others, place / "packages")
            again = Run(_train(run, tree, place))
    again.set_tags({"reproduces": run.id})
    found = again.mlflow_run.data
    return Reproduction(
        original=run.id,
        run_id=again.id,
        metrics={
            name.replace("best/", "val/"): (value, found.metrics.get(name, float("nan")))
            for name, value in original.metrics.items()
            if name.startswith("best/")
        },
        devices=(original.tags.get("device", ""), found.tags.get("device", "")),
    )


@contextmanager
def _worktree(path: Path, run: "Run", commit: str, changes: str) -> Iterator[Path]:
    """The repository as it was when the run was started."""
    if not commit:
        raise UserError(f"run: {run.id}: it was trained outside of git: expected one with a commit")
    if _git("cat-file", "-e", f"{commit}^{{commit}}"):
        raise UserError(
            f"run: {run.id}: its commit {commit[:12]} isn't in this repository: expected a clone "
            "that has it"
        )
    try:
        if reason := _git("worktree", "add", "--detach", "--quiet", str(path), commit):
            raise TrainingError(f"run {run.id}: git can't lay out its commit: {reason}")
        if changes:
            patch = path.with_name("uncommitted.diff")
            patch.write_bytes(changes.encode())
            if reason := _git("apply", "--whitespace=nowarn", str(patch), folder=path):
                raise UserError(f"run: {run.id}: its uncommitted changes don't apply: {reason}")
        # What was downloaded once is not again. Git ignores a folder `data`, not a link.
        (path / "data").mkdir()
        for each in (ROOT / "data").glob("*"):
            (path / "data" / each.name).symlink_to(each)
        yield path
    finally:
        _git("worktree", "unlock", str(path))  # it is while git lays it out
        _git("worktree", "remove", "--force", str(path))
        shutil.rmtree(path, ignore_errors=True)
        _git("worktree", "prune")


def _git(*arguments: str, folder: Path | None = None) -> str:
    """Runs git; what it has against it, in a line, or nothing."""
    try:
        done = _run(
            ["git", *arguments],
            cwd=folder or ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            errors="replace",
        )
    except OSError as error:
        raise UserError(f"git: it can't be run ({error.strerror}): expected it on PATH") from None
    if done.returncode == 0:
        return ""
    return " ".join(done.stderr.split()) or f"exit code {done.returncode}"


def _install(packages: Mapping[str, str], folder: Path) -> None:
    """Fetches packages into a folder, beside those that are installed."""
    wanted = [f"{name}=={version}" for name, version in sorted(packages.items())]
    print(f"fetching what the run had in other versions: {', '.join(wanted)}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    options = ["--disable-pip-version-check", "--target", str(folder)]
    done = subprocess.run([*command, *options, *wanted], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed"
        raise TrainingError(f"the run's packages can't be fetched: {reason}")


def _train(run: "Run", tree: Path, place: Path) -> str:
    """Trains in a process of its own; the id of the new run."""
    from project.tracking.store import experiment_name, tracking_uri

    config = place / "config.yaml"
    config.write_text(run.read_text("config.yaml"))
    environment = {
        **os.environ,
        # Not this project's code and packages, but the run's.
        "PYTHONPATH": os.pathsep.join([str(place / "packages"), str(tree)]),
        "MLFLOW_TRACKING_URI": tracking_uri(),
        "MLFLOW_EXPERIMENT_NAME": experiment_name(),
    }
    # -P: else the working folder, against which the paths in the config were given, comes first.
    if threads := run.mlflow_run.data.tags.get("threads"):
        environment["OMP_NUM_THREADS"] = threads  # sums in another order round otherwise
    command = [sys.executable, "-P", "-m", "project.train", f"experiment={config}"]
    done = _run(command, env=environment, stdout=subprocess.PIPE)
    found = re.findall(r"^run (\w{32})$", done.stdout, re.M)
    if done.returncode or not found:
        raise TrainingError(f"run {run.id} can't be trained again: exit code {done.returncode}")
    return str(found[0])


def _run(command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Like ``subprocess.run``, which doesn't let a command clean up when this one is stopped."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            process.wait(60)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def main(arguments: Sequence[str]) -> None:
    """Reproduces the run of a command line and prints how the results compare."""
    run_id = ""
    for argument in arguments:
        key, _, run_id = argument.partition("=")
        if key != "run":
            raise UserError(f"{argument}: expected run=<run id>, or run=last")
    if not run_id:
        raise UserError("run: missing: expected run=<run id>, or run=last")
    _show(reproduce(run_id))


def _show(done: Reproduction) -> None:
    from rich.console import Console
    from rich.table import Table

    print(f"run {done.run_id} has trained run {done.original} again")
    if done.is_equal:
        for name, (value, _) in done.metrics.items():
            print(f"  {name} {value:.6g}: equal, bit for bit")
        return
    table = Table("metric", "first", "again", "difference", box=None, pad_edge=False)
    for name, (first, second) in done.metrics.items():
        table.add_row(name, f"{first:.9g}", f"{second:.9g}", f"{second - first:+.3g}")
    Console().print(table)
    before, now = done.devices
    where = "on the same devices" if before == now else f"on {now} instead of {before}"
    raise TrainingError(f"the result is not the same, {where}: see the table")


if __name__ == "__main__":
    run_command(main, __doc__)
