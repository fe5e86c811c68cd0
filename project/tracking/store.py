"""Opens the MLflow store; creates it on first use, and updates its locations after a move."""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy.exc import SQLAlchemyError

from project import ROOT
from project.core.errors import UserError, first_line

SQLITE = "sqlite:///"
Kind = Literal["", "lessons", "comparisons"]
KINDS: tuple[Kind, ...] = ("", "lessons", "comparisons")


def tracking_uri() -> str:
    """Value of MLflow's variable MLFLOW_TRACKING_URI, or the project's database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{ROOT / 'mlruns' / 'mlflow.db'}"


def experiment_name(kind: Kind = "") -> str:
    """Value of MLflow's variable MLFLOW_EXPERIMENT_NAME, or ``training``.

    Lessons and comparisons have experiments of their own: ``lessons``, or ``<value>-lessons``.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    return f"{name}-{kind}" if name and kind else name or kind or "training"


def store_folder() -> Path:
    """Folder of checkpoints and artifacts: that of a SQLite database, else ``mlruns/``."""
    uri = tracking_uri()
    if uri.startswith(SQLITE):
        return Path(uri.removeprefix(SQLITE)).resolve().parent
    return ROOT / "mlruns"


def checkpoint_folder(run_id: str) -> Path:
    """Folder of a run's checkpoints ``last.ckpt`` and ``best.ckpt``."""
    return store_folder() / "checkpoints" / run_id


@contextmanager
def use_tracking_uri(**variables: str) -> Iterator[None]:
    """Points MLflow's global functions to the store, and sets variables, for the block."""
    uri, previous = tracking_uri(), mlflow.get_tracking_uri()
    environment = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", *variables)}
    os.environ.update(variables)
    mlflow.set_tracking_uri(uri)  # It sets the variable as well.
    try:
        yield
    finally:
        mlflow.set_tracking_uri(previous)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def open_store(kind: Kind = "") -> tuple[MlflowClient, str]:
    """MLflow client and id of the experiment; ``UserError`` if they can't be read and written."""
    return _open(tracking_uri(), experiment_name(kind))


def experiment_ids() -> list[str]:
    """Ids of the project's experiments: that of training, then those of lessons and comparisons."""
    client, first = open_store()
    others = [client.get_experiment_by_name(experiment_name(kind)) for kind in KINDS[1:]]
    return [first, *(e.experiment_id for e in others if e and e.lifecycle_stage == "active")]


@cache
def _open(uri: str, name: str) -> tuple[MlflowClient, str]:
    for logger in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    artifacts = None
    database = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
    try:
        if uri.startswith("sqlite:") and (database is None or not database.name):
            raise OSError("it names no file")
        folder, is_local = store_folder(), not uri.startswith("http")
        for each in ("checkpoints", "artifacts") if is_local else ("checkpoints",):
            (folder / each).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder / each).close()  # It must be writable.
        if is_local:
            artifacts = (folder / "artifacts").as_uri()
            # MLflow creates a folder mlruns in the working folder otherwise.
            os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(folder / "artifacts")
        # Two processes that create the tables at once would corrupt them.
        with FileLock(folder / ".lock"):
            if database is not None:
                _check_sqlite(database)
            client = MlflowClient(uri)
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                return client, client.create_experiment(name, artifact_location=artifacts)
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            if database is not None and artifacts is not None:
                _follow_move(database, experiment.artifact_location, artifacts)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        remedy = "sqlite:///<writable file>, or the address of an MLflow server"
        reason = f"can't be opened ({first_line(error)})"
        raise UserError(f"MLFLOW_TRACKING_URI: {uri}: {reason}: expected {remedy}") from None
    return client, experiment.experiment_id


def _check_sqlite(path: Path) -> None:
    """Fails at once where MLflow would retry for minutes; lets readers run beside writers."""
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")


def _follow_move(database: Path, old: str, new: str) -> None:
    """Replaces the stored address of the artifacts, unless the old one still exists."""
    path = local_file_uri_to_path(old) if is_local_uri(old) else None
    if path is None or not old.endswith("/artifacts") or Path(path).exists():
        return
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column} || '/', 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )
