"""Serves the MLflow UI on this machine alone, and prints the address of the training runs.

Usage: python -m project.tracking.ui [port=5000]
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from project.cli.command import parse_port, run_command
from project.core.signals import Stopped, stoppable


def main(arguments: Sequence[str]) -> None:
    """Runs the server until Ctrl-C."""
    from project.tracking.store import open_store, store_folder, tracking_uri

    port = 5000
    for argument in arguments:
        port = parse_port(argument)
    _, experiment_id = open_store()
    uri = tracking_uri()
    # The UI's start page shows traces of language models; this address shows training runs.
    page = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    if uri.startswith("http"):
        print(f"the runs are on a server of their own:\n\n  {uri.rstrip('/')}{page}\n")
        return
    print(
        f"open this address (the first answer takes a moment; Ctrl-C ends it):\n\n"
        f"  http://127.0.0.1:{port}{page}\n",
        flush=True,
    )
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        # Else it makes folders wherever it is started.
        "--default-artifact-root",
        str(store_folder() / "artifacts"),
        "--artifacts-destination",
        str(store_folder() / "artifacts"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        # By default every machine of a private network is admitted.
        "--allowed-hosts",
        f"127.0.0.1:{port},localhost:{port}",
    ]
    # The job runner is for language models, and takes a gigabyte.
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    with stoppable(), subprocess.Popen(command, env=environment) as server:
        try:
            if code := server.wait():
                sys.exit(code)
        except Stopped:
            server.terminate()


if __name__ == "__main__":
    run_command(main, __doc__)
