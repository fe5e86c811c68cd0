"""Serves the MLflow UI on this machine alone."""

import os
import subprocess
import sys

from project.core.console import say
from project.core.ports import check_port_free
from project.core.signals import Stopped
from project.core.types import Port
from project.tracking.store import store_folder, tracking_uri
from project.tracking.views import prepare_views


def ui(port: Port = 5000) -> None:
    """Serves the MLflow UI on 127.0.0.1 until Ctrl-C, and prints the address of the runs.

    Args:
        port: Free port of 127.0.0.1.
    """
    uri = tracking_uri()
    is_remote = uri.startswith("http")
    if not is_remote:
        check_port_free(port)
    # The UI's start page shows traces of language models; these addresses show training runs.
    server_address = uri.rstrip("/") if is_remote else f"http://127.0.0.1:{port}"
    pages = "".join(f"  {key}:\n  {server_address}{page}\n\n" for key, page in prepare_views())
    if is_remote:
        say(f"the runs are on an MLflow server, the best first:\n\n{pages}")
        return
    say(f"open an address after a few seconds (Ctrl-C stops the server):\n\n{pages}")
    options = {
        "backend-store-uri": uri,
        # The server creates these folders in the working folder otherwise.
        "default-artifact-root": str(store_folder() / "artifacts"),
        "artifacts-destination": str(store_folder() / "artifacts"),
        "host": "127.0.0.1",
        "port": str(port),
        "workers": "1",
        # The default admits every host of a private network.
        "allowed-hosts": f"127.0.0.1:{port},localhost:{port}",
    }
    command = [sys.executable, "-m", "mlflow", "server"]
    command += [f"--{name}={value}" for name, value in options.items()]
    # The job runner is for language models, and takes a gigabyte of memory.
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, env={**os.environ, **settings}) as server:
        try:
            if code := server.wait():
                sys.exit(code)
        except Stopped:
            server.terminate()
