"""Statements the database driver sends itself: many rows in one, several in one round trip.

For the hottest paths, where SQLAlchemy's way of sending costs more than the statement. Rows travel
as one JSON text; `given` makes a table of them that the statement's SQL calls `w`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

Rows = Sequence[Mapping[str, Any]]
Columns = Mapping[str, str]
"""Column -> `text`, `bigint`, `boolean`, `time` (see `moment`) or `document` (JSON text)."""

_CAST = {"time": "w.{0} AT TIME ZONE 'UTC'", "document": "CAST(w.{0} AS json)"}
_TYPE = {"time": "timestamp", "document": "text"}


@dataclass(frozen=True)
class Sql:
    """One statement in both dialects; `many` runs it for each row in SQLite, not once for all."""

    sqlite: str
    postgresql: str
    many: bool = False


def given(sql: str, columns: Columns, *, locking: str = "") -> Sql:
    """SQL that reads its rows from `{given}`; PostgreSQL appends `locking`."""
    texts = ", ".join(f"value ->> '{name}' AS {name}" for name in columns)
    sqlite = f"(SELECT {texts} FROM json_each(?)) w"  # noqa: S608 (own names)
    named = ", ".join(f"{_picked(name, kind)} AS {name}" for name, kind in columns.items())
    postgresql = f"(SELECT {named} FROM {_few(columns)}) w"  # noqa: S608 (own names)
    return Sql(sql.format(given=sqlite), sql.format(given=postgresql) + locking)


def insert(table: str, columns: Columns, tail: str = "") -> Sql:
    """Insert the rows; `tail` may say ON CONFLICT."""
    names = ", ".join(columns)
    values = ", ".join(f":{name}" for name in columns)
    picked = ", ".join(_picked(name, kind) for name, kind in columns.items())
    return Sql(
        f"INSERT INTO {table} ({names}) VALUES ({values}) {tail}",  # noqa: S608 (own names)
        f"INSERT INTO {table} ({names}) SELECT {picked} FROM {_recordset(columns)} {tail}",  # noqa: S608 (own names)
        many=True,
    )


def add(table: str, keys: Columns, numbers: Sequence[str]) -> Sql:
    """Add to the numbers of the rows found by the keys."""
    columns = {**keys, **dict.fromkeys(numbers, "bigint")}
    one = " AND ".join(f"{key} = :{key}" for key in keys)
    joined = " AND ".join(f"t.{key} = w.{key}" for key in keys)
    more = ", ".join(f"{name} = {name} + :{name}" for name in numbers)
    set_ = ", ".join(f"{name} = t.{name} + w.{name}" for name in numbers)
    return Sql(
        f"UPDATE {table} SET {more} WHERE {one}",  # noqa: S608 (own names)
        f"UPDATE {table} t SET {set_} FROM {_few(columns)} WHERE {joined}",  # noqa: S608 (own names)
        many=True,
    )


def assign(table: str, keys: Columns, columns: Columns) -> Sql:
    """Set the columns of the rows found by the keys."""
    one = " AND ".join(f"{key} = :{key}" for key in keys)
    joined = " AND ".join(f"t.{key} = w.{key}" for key in keys)
    values = ", ".join(f"{name} = :{name}" for name in columns)
    set_ = ", ".join(f"{name} = w.{name}" for name in columns)
    return Sql(
        f"UPDATE {table} SET {values} WHERE {one}",  # noqa: S608 (own names)
        f"UPDATE {table} t SET {set_} FROM {_few({**keys, **columns})} WHERE {joined}",  # noqa: S608 (own names)
        many=True,
    )


def delete(table: str, *keys: str) -> Sql:
    """Delete the rows found by the text keys."""
    one = " AND ".join(f"{key} = :{key}" for key in keys)
    joined = " AND ".join(f"t.{key} = w.{key}" for key in keys)
    few = _few(dict.fromkeys(keys, "text"))
    return Sql(
        f"DELETE FROM {table} WHERE {one}",  # noqa: S608 (own names)
        f"DELETE FROM {table} t USING {few} WHERE {joined}",  # noqa: S608 (own names)
        many=True,
    )


def _picked(name: str, kind: str) -> str:
    return _CAST.get(kind, "w.{0}").format(name)


def _kinds(columns: Columns) -> str:
    return ", ".join(f"{name} {_TYPE.get(kind, kind)}" for name, kind in columns.items())


def _recordset(columns: Columns) -> str:
    return f"json_to_recordset(CAST(%s AS json)) AS w({_kinds(columns)})"


def _few(columns: Columns) -> str:
    # PostgreSQL takes an array of unknown length for ten elements, and so looks rows up by index;
    # for a recordset it assumes a hundred, and would read a table of ten thousand from end to end.
    rows = "unnest(ARRAY(SELECT jsonb_array_elements(CAST(%s AS jsonb)))) AS e(doc)"
    return f"{rows} CROSS JOIN LATERAL jsonb_to_record(e.doc) AS w({_kinds(columns)})"


@lru_cache(maxsize=64)
def moment(at: datetime) -> str:
    """A time as the columns keep it in SQLite, and as `time` columns are sent to PostgreSQL."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def fetch(session: Session, *asked: tuple[Sql, Rows]) -> list[list[Any]]:
    """The rows each statement answers, for the rows given to it; for no rows nothing is sent."""
    return [found for found, _ in _send(session, asked, answers=True)]


def write(session: Session, *asked: tuple[Sql, Rows]) -> list[int]:
    """How many rows each statement wrote, for the rows given to it."""
    return [count for _, count in _send(session, asked, answers=False)]


def _send(
    session: Session, asked: Sequence[tuple[Sql, Rows]], *, answers: bool
) -> list[tuple[list[Any], int]]:
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    dialect = connection.dialect
    send = _send_sqlite if dialect.name == "sqlite" else _send_postgresql
    database_error: Any = dialect.loaded_dbapi.Error
    try:
        return send(driver, asked, answers)
    except database_error as error:
        # As if SQLAlchemy had sent it, but without what was sent: that may be personal.
        raise DBAPIError.instance(None, None, error, database_error, dialect=dialect) from error


def _send_sqlite(
    driver: Any, asked: Sequence[tuple[Sql, Rows]], answers: bool
) -> list[tuple[list[Any], int]]:
    results: list[tuple[list[Any], int]] = []
    for sql, rows in asked:
        if not rows:
            results.append(([], 0))
        elif sql.many:
            results.append(([], driver.executemany(sql.sqlite, rows).rowcount))
        else:
            cursor = driver.execute(sql.sqlite, (json.dumps(rows),))
            results.append((cursor.fetchall() if answers else [], cursor.rowcount))
    return results


def _send_postgresql(
    driver: Any, asked: Sequence[tuple[Sql, Rows]], answers: bool
) -> list[tuple[list[Any], int]]:
    with driver.pipeline():
        cursors = [
            driver.execute(sql.postgresql, (json.dumps(rows),)) if rows else None
            for sql, rows in asked
        ]
    return [
        ([], 0) if cursor is None else (cursor.fetchall() if answers else [], cursor.rowcount)
        for cursor in cursors
    ]
