"""A run against an MLflow server on loopback that dies midway and is restarted."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import wait_until_healthy
from mlflow import MlflowClient

import project

SETTINGS = ("data.limit_train=640", "model.width=8", "trainer.max_epochs=100", "augment=none")


@contextmanager
def serve(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    del environment["MLFLOW_TRACKING_URI"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        wait_until_healthy(port, server)
        try:
            yield server
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project, as checkpoints of a run on a server are kept in the project."""
    for name in ("project", "conf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project.ROOT / name, tmp_path / "clone" / name, ignore=ignore)
    return tmp_path / "clone"


@pytest.mark.slow
def test_a_run_survives_the_death_of_its_server_without_losing_metrics(
    clone: Path, free_port: int
) -> None:
    uri = f"http://127.0.0.1:{free_port}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "project", "train", *arguments],
            cwd=clone,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    store = clone.parent / "store"
    store.mkdir()
    with serve(store, free_port):
        process = start(*SETTINGS)
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("epoch  20/"))
    # The server is dead now; training completes, and reports that its metrics were not sent.
    with process:
        rest = process.stderr.read()
        assert process.wait() == 1
    last = rest.splitlines()[-1]
    assert re.match(r"error: MLflow is unreachable: run \w+ can be resumed", last)
    assert "Traceback" not in rest
    assert "epoch 100/100" in rest
    run_id = re.findall(r"run (\w{32})", last)[0]
    with serve(store, free_port):
        with start(f"resume={run_id}") as process:
            output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert run_id in output
        client = MlflowClient(uri)
        assert client.get_run(run_id).info.status == "FINISHED"
        steps = {point.step for point in client.get_metric_history(run_id, "train/loss")}
        assert steps == set(range(1, 1001))
        assert client.list_artifacts(run_id, "figures")
