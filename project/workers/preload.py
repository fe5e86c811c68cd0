"""Starts the process that workers are forked from; it imports once what every worker needs."""

from multiprocessing import forkserver


def start_importing() -> None:
    """Starts the fork server. Called early, it imports while this process does other work."""
    # MLflow imports its store when it opens a database.
    modules = ["project.workers.worker", "project.reports.run"]
    forkserver.set_forkserver_preload([*modules, "mlflow.store.tracking.sqlalchemy_store"])
    forkserver.ensure_running()
