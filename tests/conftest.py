"""Shared fixtures: a store for the tests, and trained runs that several of them use."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

import project
from project.config.build import read_samples
from project.config.check import Config, check
from project.config.compose import compose
from project.train import train
from project.training.results import FitResult

# Small enough to train in a second.
TINY = ("model.width=8", "trainer.max_epochs=2", "data.limit_train=320")


@contextmanager
def use_store(folder: Path) -> Iterator[None]:
    """Stores runs in a database in a folder."""
    previous = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    try:
        yield
    finally:
        if previous is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = previous


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store shared by most tests, because creating one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with use_store(folder):
        yield folder


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Path]:
    """A store of the test's own."""
    with use_store(tmp_path):
        yield tmp_path


@pytest.fixture(autouse=True)
def _fresh_samples() -> None:
    """Tests change data sources, so none may reuse samples that another one has read."""
    read_samples.cache_clear()


def configure(*overrides: str) -> Config:
    return check(compose("train", overrides))


@pytest.fixture(scope="session")
def train_run() -> Callable[..., FitResult]:
    """Trains with overrides; each distinct run is trained once per session."""
    done: dict[tuple[str, ...], FitResult] = {}

    def run(*overrides: str) -> FitResult:
        if overrides not in done:
            done[overrides] = train(configure(*overrides))
        return done[overrides]

    return run


@pytest.fixture(scope="session")
def digits_run(train_run: Callable[..., FitResult]) -> FitResult:
    return train_run(*TINY)


@pytest.fixture(scope="session")
def diabetes_run(train_run: Callable[..., FitResult]) -> FitResult:
    return train_run("data=diabetes", "trainer.max_epochs=3")


def command(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Runs ``python -m <arguments>`` in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="session")
def free_port() -> int:
    """A free port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(port: int, server: "subprocess.Popen[Any]") -> None:
    """Waits until an MLflow server on 127.0.0.1 responds."""
    deadline = monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            assert monotonic() < deadline
            assert server.poll() is None
            sleep(0.3)
