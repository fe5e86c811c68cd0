"""Starts the process that workers are forked from; it imports once what every worker needs."""

from multiprocessing import forkserver

PRELOADED = [
    "project.workers.worker",
    "project.reports.run",
    "mlflow.store.tracking.sqlalchemy_store",  # MLflow imports it when it opens a database
]


def start_importing() -> None:
    """Starts the fork server. Called early, it imports while this process does other work."""
    forkserver.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
