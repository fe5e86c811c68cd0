"""Optuna's storage: SQLite on one machine, PostgreSQL when several machines share a study."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from project.core.errors import TrainingError, UserError, one_line
from project.tracking.store import store_folder

BEAT = 15  # seconds between heartbeats; an owner silent for six intervals counts as dead
EXPECTED = "expected sqlite:///<writable file> or postgresql://user@host/database"
PSYCOPG = "postgresql+psycopg"
CONNECT: dict[str, Any] = {"connect_timeout": 10}  # seconds; for PostgreSQL


def open_storage(url: str | None, key: str = "sweep.storage") -> RDBStorage:
    """Opens a storage, by default the SQLite file beside the runs; ``key`` is for messages."""
    url = url or f"sqlite:///{store_folder() / 'optuna.db'}"
    try:
        parsed = sqlalchemy.make_url(url)
        backend = parsed.get_backend_name()
        engine: dict[str, Any] = {"connect_args": CONNECT, "pool_pre_ping": True}
        if backend == "postgresql":
            parsed = parsed.set(drivername=PSYCOPG)
        elif backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
            engine = {"creator": partial(_connect_sqlite, Path(parsed.database).resolve())}
        else:
            raise UserError(f"{key}: {mask(url)}: {EXPECTED}")
        address = parsed.render_as_string(hide_password=False)
        with lock(url, "tables", 120):
            return RDBStorage(address, engine, heartbeat_interval=BEAT, grace_period=6 * BEAT)
    except ImportError as error:
        missing = f"{error.name or error} is missing"
        install = 'run `.venv/bin/pip install -e ".[postgres]"` first'
        raise UserError(f"{key}: {mask(url)}: {missing}: {install}") from None
    except (SQLAlchemyError, OSError, StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).strip().splitlines()), type(error).__name__)
        raise UserError(f"{key}: {mask(url)}: can't be opened ({reason}): {EXPECTED}") from None


def _connect_sqlite(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")  # readers and writers work at the same time
    connection.execute("PRAGMA synchronous=NORMAL")  # safe if a process is killed
    return connection


def mask(url: str) -> str:
    """Replaces the password of an address by asterisks."""
    with suppress(SQLAlchemyError):
        url = sqlalchemy.make_url(url).render_as_string(hide_password=True)
    return url


@contextmanager
def reachable() -> Iterator[None]:
    """Turns an outage of the storage into a TrainingError; can be used as a decorator."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = one_line(error.__cause__ or error)[:300]
        hint = "re-run the same command to resume when it is"
        raise TrainingError(f"sweep.storage: not reachable ({reason}): {hint}") from None


@contextmanager
def lock(url: str, name: str, timeout: float) -> Iterator[bool]:
    """Locks a name until the process ends at the latest; yields whether it was free in time."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database)).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        held = None
        with suppress(TimeoutError):
            held = FileLock(path.with_name(f".{path.name}.{name}.lock")).acquire(timeout)
        with held or nullcontext():
            yield held is not None
        return
    address = parsed.set(drivername=PSYCOPG)
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool, connect_args=CONNECT)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"SET lock_timeout = {int(timeout * 1000) or 1}"))
        key = sqlalchemy.func.hashtextextended(name, 0)
        try:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(key)))
            connection.commit()  # the lock belongs to the session, not to the transaction
            is_held = True
        except OperationalError:
            is_held = False
        yield is_held
