"""Raw SQL whose parameters and results have the types of their columns."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    CursorResult,
    Result,
    TextClause,
    bindparam,
    text,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import TextualSelect
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

import store.tables  # noqa: F401 (fills the metadata)

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


def _types(tables: Sequence[str]) -> dict[str, TypeEngine[Any]]:
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
