"""Opening the database, its transactions, and bringing its schema up to date."""

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, orm, text
from sqlalchemy.engine import URL, make_url
from sqlmodel import Session

BUSY_TIMEOUT_MS = 10_000
POOL_SIZE = 20
_WRITES = "doms_writes"
_MIGRATION_LOCK = 0x646F6D73  # any number, as long as every process uses the same

# Threads of one process queue here for SQLite's single writer: its own busy handler sleeps and
# polls, which is slow and unfair. Other processes still wait by busy_timeout.
_writers: dict[str, threading.RLock] = {}
_writers_guard = threading.Lock()
# What each engine's write transactions need, made once: resolving paths and copying engines costs
# as much as a statement.
_prepared: "WeakKeyDictionary[Engine, tuple[threading.RLock, Engine]]" = WeakKeyDictionary()


def open_engine(url: str, *, pool_size: int = POOL_SIZE) -> Engine:
    """An engine for `sqlite:///path` or `postgresql://...` with `pool_size` kept connections.

    The directory of a SQLite file is made when it is missing. Nothing is connected yet.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, pool_size)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            hide_parameters=True,  # errors reach logs and histories; documents are personal
        )
    raise ValueError(f"'{parsed.get_backend_name()}' is no supported database: sqlite, postgresql")


def _open_sqlite(url: URL, pool_size: int) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("SQLite needs a file, such as sqlite:///.doms/doms.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4 * pool_size,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver itself would begin every transaction deferred; `_begin_sqlite` decides instead.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "cache_size = -32768",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")


def is_sqlite(session: orm.Session) -> bool:
    """Whether the session speaks to SQLite, which has one writer and no row locks."""
    return session.get_bind().dialect.name == "sqlite"


def _writer(engine: Engine) -> tuple[threading.RLock, Engine]:
    """The lock of SQLite's single writer, and the engine whose transactions begin as writing."""
    prepared = _prepared.get(engine)
    if prepared is None:
        path = str(Path(engine.url.database or "").resolve())
        with _writers_guard:
            lock = _writers.setdefault(path, threading.RLock())
            prepared = lock, engine.execution_options(**{_WRITES: True})
            _prepared[engine] = prepared
    return prepared


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session that may write: commits on leaving, rolls back when an exception leaves it."""
    if engine.dialect.name != "sqlite":
        with Session(engine, autoflush=False) as session, session.begin():
            yield session
        return
    lock, writing = _writer(engine)
    with lock, Session(writing, autoflush=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads, and never makes a writer wait."""
    with Session(engine, autoflush=False) as session:
        yield session


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version. Safe when several processes start at once."""
    if engine.dialect.name == "sqlite":
        with _file_lock(Path(f"{engine.url.database}.migrate")), _connected(engine) as connection:
            _upgrade(connection)
        return
    with engine.connect() as guard:
        guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            with _connected(engine) as connection:
                _upgrade(connection)
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    with engine.execution_options(**{_WRITES: True}).connect() as connection:
        yield connection


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    # A lock file of its own: DDL commits in SQLite only as a whole when nobody else holds the file.
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")
    connection.commit()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for that connection; there is no alembic.ini."""
    config = Config()
    # The path may hold a '%', which Alembic's configuration would otherwise interpolate.
    location = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", location)
    config.set_main_option("path_separator", "os")
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    return config
