import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from store.engine import migrate, open_engine, reading, transaction
from store.reservations import cool_off, cool_offs
from store.tables.stock import BUCKETS
from tests.conftest import Postgres
from tests.integration.store.builders import NOW, everything


def test_the_migrated_schema_equals_the_metadata(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_every_check_of_the_metadata_is_in_the_migrated_schema(engine: Engine) -> None:
    inspector = inspect(engine)
    for table in SQLModel.metadata.tables.values():
        wanted = {str(x.name) for x in table.constraints if isinstance(x, CheckConstraint)}
        found = {str(x["name"]) for x in inspector.get_check_constraints(table.name)}
        assert found == wanted


def test_the_database_itself_refuses_a_negative_bucket(engine: Engine) -> None:
    before = everything(engine)
    row = {**dict.fromkeys(BUCKETS, 0), "sku": "X", "node_id": "A", "usable": -1}
    with pytest.raises(IntegrityError), transaction(engine) as session:
        session.execute(SQLModel.metadata.tables["positions"].insert(), row)
    assert everything(engine) == before


def _migrate_at_once(url: str, times: int) -> list[BaseException]:
    errors: list[BaseException] = []
    barrier = threading.Barrier(times)

    def run() -> None:
        engine = open_engine(url)
        barrier.wait()
        try:
            migrate(engine)
        except BaseException as error:
            errors.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_several_starts_at_once_migrate_an_empty_sqlite_file_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'do%ms.db'}"
    assert _migrate_at_once(url, 4) == []
    assert set(inspect(open_engine(url)).get_table_names()) >= set(SQLModel.metadata.tables)


def test_several_starts_at_once_migrate_an_empty_postgresql_once(postgres: Postgres) -> None:
    if postgres.why_not:
        pytest.skip(postgres.why_not)
    url = postgres.create("doms_starting")
    assert _migrate_at_once(url, 4) == []
    assert set(inspect(open_engine(url)).get_table_names()) >= set(SQLModel.metadata.tables)


def test_an_exception_rolls_a_transaction_back(engine: Engine) -> None:
    insert = text("INSERT INTO exchange_rates (currency, rate) VALUES ('EUR', '1.1')")
    refusal = RuntimeError("no")

    def fail() -> None:
        with transaction(engine) as session:
            session.execute(insert)
            raise refusal

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert raised.value is refusal
    with reading(engine) as session:
        assert session.execute(text("SELECT count(*) FROM exchange_rates")).scalar_one() == 0


def test_a_reader_sees_committed_rows_while_a_writer_is_busy(engine: Engine) -> None:
    insert = text("INSERT INTO exchange_rates (currency, rate) VALUES ('EUR', '1.1')")
    counted = text("SELECT count(*) FROM exchange_rates")
    with transaction(engine) as writer:
        writer.execute(insert)
        with reading(engine) as reader:
            assert reader.execute(counted).scalar_one() == 0
    with reading(engine) as reader:
        assert reader.execute(counted).scalar_one() == 1


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/doms"])
def test_an_unusable_database_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite needs a file|no supported database"):
        open_engine(url)


def test_sqlite_is_durable_and_waits_for_other_writers(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'doms.db'}")
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 10_000,
        "foreign_keys": 1,
    }


def test_a_naive_time_is_refused_before_it_reaches_the_database(engine: Engine) -> None:
    with pytest.raises(Exception, match="without a time zone"), transaction(engine) as session:
        cool_off(session, "A", None, NOW.replace(tzinfo=None), "broken")
    with reading(engine) as session:
        assert cool_offs(session, ["X"], NOW) == []
