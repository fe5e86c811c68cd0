"""Where runs are kept: opens the MLflow store, makes it on first use, mends it after a move."""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy.exc import SQLAlchemyError

from project import ROOT
from project.core.errors import UserError

SQLITE = "sqlite:///"


def tracking_uri() -> str:
    """MLflow's own variable MLFLOW_TRACKING_URI, or the project's database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{ROOT / 'mlruns' / 'mlflow.db'}"


def experiment_name() -> str:
    """MLflow's own variable MLFLOW_EXPERIMENT_NAME, or ``training``."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "training"


def store_folder() -> Path:
    """The folder of checkpoints, and of artifacts: beside a SQLite database, else ``mlruns/``."""
    uri = tracking_uri()
    if uri.startswith(SQLITE):
        return Path(uri.removeprefix(SQLITE)).resolve().parent
    return ROOT / "mlruns"


def checkpoint_folder(run_id: str) -> Path:
    """The folder of a run's checkpoints ``last.ckpt`` and ``best.ckpt``."""
    return store_folder() / "checkpoints" / run_id


@contextmanager
def use_tracking_uri() -> Iterator[None]:
    """Points MLflow's global functions to the store for the block."""
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    previous = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri())  # It sets the environment variable as well.
    try:
        yield
    finally:
        mlflow.set_tracking_uri(previous)
        if variable is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = variable


def open_store() -> tuple[MlflowClient, str]:
    """Opens the store; creates the database and the experiment on first use.

    Returns:
        A client, and the id of the experiment.

    Raises:
        UserError: the store can't be reached or written.
    """
    return _open(tracking_uri(), experiment_name())


@cache
def _open(uri: str, name: str) -> tuple[MlflowClient, str]:
    for logger in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    artifacts = None
    database = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
    try:
        if uri.startswith("sqlite:") and (database is None or not database.name):
            raise OSError("there is no file in it")
        folder = store_folder()
        _check_writable(folder / "checkpoints")
        if not uri.startswith("http"):
            _check_writable(folder / "artifacts")
            artifacts = (folder / "artifacts").as_uri()
            # Else MLflow makes a folder mlruns wherever the command is run.
            os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(folder / "artifacts")
        # Two processes that create the tables at once would spoil them.
        with FileLock(folder / ".lock"):
            if database is not None:
                _check_sqlite(database)
            client = MlflowClient(uri)
            experiment_id = _find_experiment(client, name, artifacts)
            location = client.get_experiment(experiment_id).artifact_location
            if database is not None and artifacts is not None and location != artifacts:
                _follow_move(database, location, artifacts)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"MLFLOW_TRACKING_URI: {uri}: can't be opened ({reason}): "
            "expected sqlite:///<file that can be written>, or the address of an MLflow server"
        ) from None
    return client, experiment_id


def _check_sqlite(path: Path) -> None:
    """Fails at once where MLflow would try for minutes; lets readers and writers work together."""
    with sqlite3.connect(path, timeout=20) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
    connection.close()


def _find_experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.search_experiments(
        view_type=ViewType.ALL, filter_string=f"name = '{name}'", max_results=1
    )
    if not found:
        return str(client.create_experiment(name, artifact_location=artifacts))
    if found[0].lifecycle_stage == "deleted":
        client.restore_experiment(found[0].experiment_id)
    return str(found[0].experiment_id)


def _follow_move(database: Path, old: str, artifacts: str) -> None:
    """Rewrites the absolute locations that MLflow has stored, if the folder was moved since.

    Args:
        database: the file.
        old: where the experiment's artifacts were; left alone if they still are there.
        artifacts: where they are now.
    """
    path = local_file_uri_to_path(old) if is_local_uri(old) else None
    if path is None or not old.endswith("/artifacts") or Path(path).exists():
        return
    columns = {
        "experiments": ("artifact_location",),
        "runs": ("artifact_uri",),
        "logged_models": ("artifact_location",),
        "model_versions": ("source", "storage_location"),
    }
    with sqlite3.connect(database, timeout=20) as connection:
        for table, names in columns.items():
            for column in names:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (artifacts, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
    connection.close()


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
