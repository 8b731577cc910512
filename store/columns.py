"""Column types that mean the same on SQLite and PostgreSQL, and typed raw SQL."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    CursorResult,
    DateTime,
    Integer,
    Result,
    TextClause,
    bindparam,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import TextualSelect
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

JsonOrNull = JSON(none_as_null=True)
BigId = BigInteger().with_variant(Integer(), "sqlite")
"""A row number; SQLite numbers rows by itself only in an INTEGER column."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC: SQLite has no time zones, so they are taken off and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time with ValueError; UTC for the rest."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


def _types(tables: Sequence[str]) -> dict[str, TypeEngine[Any]]:
    import store.tables  # noqa: F401 (fills the metadata; the tables need this module's types first)

    types: dict[str, TypeEngine[Any]] = {}
    for name in tables:
        for column in SQLModel.metadata.tables[name].columns:
            types.setdefault(column.name, column.type)
    return types


def statement(sql: str, *tables: str, lists: Sequence[str] = ()) -> TextClause:
    """Raw SQL whose `:name` parameters have the type of the column of that name in `tables`.

    A parameter may be a plural (`:skus`) or carry a suffix to tell it from another (`:at_from`);
    the longest column name that fits is meant. `lists` are those that hold a list for `IN`.
    """
    types = _types(tables)
    clause = text(sql)
    for name in dict.fromkeys(_PARAMETER.findall(sql)):
        column = max(
            (c for c in types if name in {c, f"{c}s"} or name.startswith(f"{c}_")),
            key=len,
            default=None,
        )
        kind = None if column is None else types[column]
        clause = clause.bindparams(bindparam(name, type_=kind, expanding=name in lists))
    return clause


def query(sql: str, *tables: str, lists: Sequence[str] = ()) -> TextualSelect:
    """Like `statement`, for a SELECT or RETURNING: result columns have their tables' types too."""
    types = _types(tables)
    return statement(sql, *tables, lists=lists).columns(**types)


def changed(
    session: Session,
    sql: TextClause,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
) -> int:
    """Run a writing statement; how many rows it touched."""
    return cast(CursorResult[Any], session.execute(sql, parameters)).rowcount


class ByPairs:
    """A SELECT of the rows of many (SKU, node id) pairs, with one parameter however many they are.

    `IN` over pairs would read the whole table in SQLite.
    """

    def __init__(self, columns: str, table: str, tail: str) -> None:
        """`tail` is what follows the join: conditions, order. The table's alias is `t`."""
        select = f"SELECT {columns} FROM"
        joined = f"{table} t ON t.sku = w.sku AND t.node_id = w.node_id {tail}"
        self._sqlite = query(
            f"{select} (SELECT value ->> 0 AS sku, value ->> 1 AS node_id FROM json_each(:pairs)) w"  # noqa: S608 (own names)
            f" CROSS JOIN {joined}",
            table,
        )
        wanted = "unnest(CAST(:skus AS varchar[]), CAST(:node_ids AS varchar[])) w(sku, node_id)"
        self._postgresql = {
            is_locking: query(
                f"{select} {wanted} JOIN {joined}{' FOR UPDATE OF t' if is_locking else ''}", table
            )
            for is_locking in (True, False)
        }

    def rows(
        self,
        session: Session,
        pairs: Iterable[tuple[str, str]],
        *,
        locked: bool = False,
        **parameters: Any,
    ) -> Result[Any]:
        """The rows of these (node id, SKU) pairs, `locked` until the transaction ends."""
        wanted = sorted({(sku, node_id) for node_id, sku in pairs})
        if session.get_bind().dialect.name == "sqlite":
            return session.execute(self._sqlite, {"pairs": json.dumps(wanted), **parameters})
        lists = {"skus": [sku for sku, _ in wanted], "node_ids": [node for _, node in wanted]}
        return session.execute(self._postgresql[locked], {**lists, **parameters})
