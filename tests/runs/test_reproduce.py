"""A run is reproduced from its logged commit, uncommitted changes, config and packages."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest
from mlflow import MlflowClient

import project
from project.cli.main import main
from project.core.errors import TrainingError, UserError
from project.runs import reproduce as module
from project.runs.reproduce import reproduce

TINY = ("model.width=8", "trainer.max_epochs=1", "data.limit_train=320", "augment=full")
OLD = "c7f6242"  # the last commit without `python -m project <command>`


def find_objects() -> Path | None:
    """The objects of the repository that the project is in, if they include the old commit."""
    command = ["git", "-C", str(project.ROOT)]
    known = subprocess.run([*command, "cat-file", "-e", f"{OLD}^{{commit}}"], capture_output=True)
    if known.returncode:
        return None
    command += ["rev-parse", "--path-format=absolute", "--git-path", "objects"]
    return Path(subprocess.run(command, capture_output=True, text=True).stdout.strip())


class Clone:
    """The project in a repository of its own, with a store of its own.

    Args:
        folder: Folder of the repository.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        for name in ("project", "conf"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(project.ROOT / name, self.folder / name, ignore=ignored)
        shutil.copy(project.ROOT / ".gitignore", self.folder)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("first")
        self.client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")

    def git(self, *arguments: str) -> str:
        settings = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        done = subprocess.run(
            ["git", *settings, *arguments], cwd=self.folder, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", message)

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
        store = f"sqlite:///{self.folder}/mlruns/mlflow.db"
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=folder or self.folder,
            env={**environment, "MLFLOW_TRACKING_URI": store},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def edit(self, file: str, before: str, after: str) -> None:
        path = self.folder / file
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def runs(self) -> list[str]:
        return [run.info.run_id for run in self.client.search_runs(["1"])]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("reproduce"))


@pytest.fixture(scope="module")
def run_id(clone: Clone) -> str:
    """A run with uncommitted changes of code and a new file, which are gone afterwards."""
    clone.edit("project/models/cnn.py", "self.scale(", "1.5 * self.scale(")
    option = clone.folder / "conf" / "model" / "mine.yaml"
    option.write_text((clone.folder / "conf" / "model" / "cnn.yaml").read_text())
    trained = clone.run("project", "train", *TINY, "model=mine", "seed=7", "--json")
    option.unlink()
    clone.git("checkout", "--quiet", ".")
    clone.edit("conf/optimizer/adamw.yaml", "lr: 2e-3", "lr: 0.5")
    clone.edit("project/config/check.py", "ema_decay", "average_decay")  # an option is renamed
    clone.commit("second")
    (clone.folder / "data" / "a set").mkdir(parents=True)  # as if downloaded
    return str(json.loads(trained)["run_id"])


@pytest.fixture
def inside(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is called in this process works on the clone."""
    monkeypatch.setattr(module, "ROOT", clone.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{clone.folder}/mlruns/mlflow.db")


@contextmanager
def logged(clone: Clone, run_id: str, file: str, before: str, after: str) -> Iterator[None]:
    """In the context the run has logged something else."""
    path = clone.client.download_artifacts(run_id, file)
    text = Path(path).read_bytes().decode()
    assert before in text
    clone.client.log_text(run_id, text.replace(before, after, 1), file)
    try:
        yield
    finally:
        clone.client.log_text(run_id, text, file)


def test_the_result_is_equal_bit_for_bit(clone: Clone, run_id: str) -> None:
    printed = clone.run("project", "reproduce", f"run={run_id[:10]}")
    assert printed.count(": equal, bit for bit") == 3
    again = clone.runs()[0]
    assert f"run {again} has trained run {run_id} again" in printed
    tags = clone.client.get_run(again).data.tags
    assert tags["reproduces"] == run_id
    first, second = (clone.client.get_run(run).data for run in (run_id, again))
    assert first.params == second.params
    assert first.tags["mlflow.source.git.commit"] == tags["mlflow.source.git.commit"]
    changes = [clone.client.download_artifacts(run, "uncommitted.diff") for run in (run_id, again)]
    assert Path(changes[0]).read_text() == Path(changes[1]).read_text()
    assert clone.git("worktree", "list").count("\n") == 1
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_a_run_of_code_without_the_command_line_is_reproduced(
    clone: Clone, inside: None, tmp_path: Path
) -> None:
    if (objects := find_objects()) is None:
        pytest.skip(f"commit {OLD} is missing: this is a shallow clone")
    (clone.folder / ".git" / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    clone.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "old"), OLD)
    printed = clone.run("project.train", *TINY, folder=tmp_path / "old")
    clone.git("worktree", "remove", "--force", str(tmp_path / "old"))
    again = reproduce(printed.split("\nrun ")[1].split()[0])
    assert not again.failure
    assert len(again.metrics) == 3
    tags = clone.client.get_run(again.run_id).data.tags
    assert tags["mlflow.source.git.commit"].startswith(OLD)


@pytest.mark.slow
def test_a_different_result_is_reported(
    clone: Clone, run_id: str, inside: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with logged(clone, run_id, "config.yaml", "seed: 7", "seed: 8"):
        assert main(["reproduce", f"run={run_id}"]) == 1
    printed = capsys.readouterr()
    assert "error: the results differ, on the same devices: see the metrics" in printed.err
    assert "val/loss" in printed.out
    assert "bit for bit" not in printed.out


@contextmanager
def stop_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Sends SIGTERM to this process once the condition holds."""
    is_over = Event()

    def watch() -> None:
        deadline = monotonic() + 100
        while not condition() and not is_over.wait(0.05) and monotonic() < deadline:
            pass
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    # A signal that comes too late must not end the tests.
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.parametrize("moment", ["checking out", "training"])
def test_a_stop_leaves_nothing_behind(moment: str, clone: Clone, run_id: str, inside: None) -> None:
    sign = clone.folder.parent / moment
    attributes = clone.folder / ".git" / "info" / "attributes"
    if moment == "checking out":
        clone.git("config", "filter.slow.smudge", f"touch '{sign}'; sleep 3; cat")
        attributes.write_text("pool.py filter=slow\n")
    before = clone.runs()
    with stop_when(lambda: sign.exists() or (moment == "training" and clone.runs() != before)):
        code = main(["reproduce", f"run={run_id}"])
    attributes.unlink(missing_ok=True)
    assert code == 143
    assert clone.git("worktree", "list").count("\n") == 1
    assert list((clone.folder / ".git").glob("worktrees/*")) == []
    states = [clone.client.get_run(run).info.status for run in clone.runs()]
    assert "RUNNING" not in states
    assert ("KILLED" in states) == (moment == "training")


def write_wheel(folder: Path) -> None:
    """A package that exists nowhere else."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "forgotten_package-1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("forgotten_package.py", "VALUE = 1\n")
        info = "forgotten_package-1.5.dist-info"
        wheel.writestr(f"{info}/METADATA", "Name: forgotten-package\nVersion: 1.5\n")
        about = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", about)
        wheel.writestr(f"{info}/RECORD", "")


@pytest.mark.slow
def test_packages_of_other_versions_are_installed(
    clone: Clone, run_id: str, inside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with logged(clone, run_id, "requirements.txt", "torch==", "forgotten_package==1.5\ntorch=="):
        again = reproduce(run_id)
    assert not again.failure
    packages = Path(clone.client.download_artifacts(again.run_id, "requirements.txt"))
    assert "forgotten-package==1.5" in packages.read_text().replace("_", "-")
    with (
        logged(clone, run_id, "requirements.txt", "torch==", "forgotten_package==1.6\ntorch=="),
        pytest.raises(TrainingError, match="packages can't be installed: "),
    ):
        reproduce(run_id)
    assert clone.git("worktree", "list").count("\n") == 1


def test_code_that_cannot_be_checked_out_is_one_line(
    clone: Clone, run_id: str, inside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = clone.client.get_run(run_id).data.tags["mlflow.source.git.commit"]
    with monkeypatch.context() as context:
        context.setenv("PATH", "")
        with pytest.raises(UserError, match=r"git: can't be started \(.*\): expected git on PATH"):
            reproduce(run_id)
    for value, message in {
        "": "expected one with a commit",
        "0" * 40: "its commit 000000000000 isn't in this repository: expected a clone",
    }.items():
        clone.client.set_tag(run_id, "mlflow.source.git.commit", value)
        with pytest.raises(UserError, match=message):
            reproduce(run_id)
    clone.client.set_tag(run_id, "mlflow.source.git.commit", commit)
    with (
        logged(clone, run_id, "uncommitted.diff", "-        ", "-  other "),
        pytest.raises(UserError, match="its uncommitted changes don't apply: ") as caught,
    ):
        reproduce(run_id)
    assert "\n" not in str(caught.value)
    assert clone.git("worktree", "list").count("\n") == 1
    clone.client.update_run(run_id, status="KILLED")
    with pytest.raises(UserError, match="it is KILLED: expected a run that is FINISHED"):
        reproduce(run_id)
    clone.client.update_run(run_id, status="FINISHED")
