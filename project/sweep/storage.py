"""Optuna's storage: SQLite on one machine, PostgreSQL when several machines share a study."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from project.core.errors import TrainingError, UserError, one_line
from project.tracking.store import store_folder

HEARTBEAT = 15  # seconds; an owner silent for six intervals counts as dead
EXPECTED = "expected sqlite:///<writable file> or postgresql://user@host/database"


def default_storage() -> str:
    """Address of the SQLite file beside the runs."""
    return f"sqlite:///{store_folder() / 'optuna.db'}"


def open_storage(url: str, key: str = "sweep.storage") -> RDBStorage:
    """Opens a storage; creates the file and its tables on first use.

    Args:
        url: Address such as ``sqlite:///file`` or ``postgresql://user@host/database``.
        key: Key that the address was given by, for error messages.

    Raises:
        UserError: The storage can't be opened.
    """
    engine: dict[str, Any] = {"connect_args": {"timeout": 60}}
    try:
        parsed = sqlalchemy.make_url(url)
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
            engine = {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True}
        elif backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
            raise UserError(f"{key}: {mask(url)}: {EXPECTED}")
        with lock(url, "tables", 120):
            if backend == "sqlite":
                _use_write_ahead_log(Path(str(parsed.database)))
            storage = RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT,
                grace_period=6 * HEARTBEAT,
            )
        if backend == "sqlite":
            sqlalchemy.event.listen(storage.engine, "connect", _relax_synchronisation)
            storage.engine.dispose()
        return storage
    except ImportError as error:
        raise UserError(
            f"{key}: {mask(url)}: {error.name or error} is missing: "
            'run `.venv/bin/pip install -e ".[postgres]"` first'
        ) from None
    except (SQLAlchemyError, OSError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).strip().splitlines()), type(error).__name__)
        raise UserError(f"{key}: {mask(url)}: can't be opened ({reason}): {EXPECTED}") from None


def mask(url: str) -> str:
    """Replaces the password of an address by asterisks."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url


@contextmanager
def reachable() -> Iterator[None]:
    """Turns an outage of the storage into a TrainingError; can be used as a decorator."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise TrainingError(
            f"sweep.storage: not reachable ({one_line(error.__cause__ or error)[:300]}): "
            "re-run the same command to resume when it is"
        ) from None


@contextmanager
def lock(url: str, name: str, timeout: float) -> Iterator[bool]:
    """Locks a name for all processes with that storage; a process that dies releases it.

    Args:
        url: Address of the storage.
        name: Name of the lock.
        timeout: Seconds to wait for another process.

    Yields:
        Whether the lock was acquired in time.
    """
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database)).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(path.with_name(f".{path.name}.{name}.lock")).acquire(timeout=timeout)
        except TimeoutError:
            yield False
            return
        with held:
            yield True
        return
    engine = sqlalchemy.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        poolclass=sqlalchemy.NullPool,
        connect_args={"connect_timeout": 10},
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"SET lock_timeout = {int(timeout * 1000) or 1}"))
        key = sqlalchemy.func.hashtextextended(name, 0)
        try:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(key)))
        except OperationalError:
            yield False
            return
        connection.commit()  # the lock belongs to the session, not to the transaction
        yield True
    engine.dispose()


def _use_write_ahead_log(path: Path) -> None:
    """Lets readers and writers work at the same time."""
    with sqlite3.connect(path, timeout=60) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _relax_synchronisation(connection: sqlite3.Connection, record: object) -> None:
    # Safe when a process is killed; a power cut may lose the last second.
    connection.execute("PRAGMA synchronous=NORMAL")
