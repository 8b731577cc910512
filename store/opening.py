"""Positions counted for the first time: there is nothing to compare, so many go in at once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import RetryableError
from store import driver
from store.columns import ByPairs
from store.counts import Counted
from store.driver import moment
from store.ledger import Cause, Changes
from store.tables.stock import BUCKETS

_KNOWN = ByPairs("t.node_id, t.sku", "positions", "")
_PAIR = {"sku": "text", "node_id": "text"}
_POSITIONS = driver.insert(
    "positions", {**_PAIR, **dict.fromkeys(BUCKETS, "bigint")}, "ON CONFLICT DO NOTHING"
)
_LEDGER = driver.insert(
    "ledger",
    {
        "key": "text",
        "at": "time",
        **_PAIR,
        "bucket": "text",
        "delta": "bigint",
        "kind": "text",
        "occurred_at": "time",
    },
)
_COUNTS = driver.insert(
    "stock_counts",
    {
        **_PAIR,
        "condition": "text",
        "quantity": "bigint",
        "counted_at": "time",
        "by_people": "boolean",
    },
)
_EMPTY = dict.fromkeys(BUCKETS, 0)


def open_counted(
    session: Session, counted: Sequence[Counted], cause: Cause
) -> tuple[Changes, list[Counted]]:
    """Open the positions that were not known, as counted; what that changed, and the other rows.

    Positions, ledger rows and remembered counts are written. Raises RetryableError when somebody
    else opened one of them at the same moment; the transaction must roll back.
    """
    pairs = {(row.node_id, row.sku) for row in counted}
    known = {(row.node_id, row.sku) for row in _KNOWN.rows(session, pairs)}
    fresh = [row for row in counted if (row.node_id, row.sku) not in known]
    if not fresh:
        return {}, list(counted)
    positions: dict[tuple[str, str], dict[str, Any]] = {}
    changes: Changes = {}
    for row in fresh:
        pair = (row.node_id, row.sku)
        place = positions.setdefault(pair, {**_EMPTY, "node_id": row.node_id, "sku": row.sku})
        place[row.condition] = row.quantity
        changes.setdefault(pair, {})[row.condition] = row.quantity
    (opened,) = driver.write(session, (_POSITIONS, list(positions.values())))
    if opened != len(positions):
        raise RetryableError("another feed counts the same positions right now: send it again")
    driver.write(
        session,
        (_LEDGER, [_ledger_row(row, cause) for row in fresh if row.quantity]),
        (_COUNTS, [{**vars(row), "counted_at": moment(row.counted_at)} for row in fresh]),
    )
    return changes, [row for row in counted if (row.node_id, row.sku) in known]


def _ledger_row(row: Counted, cause: Cause) -> dict[str, Any]:
    return {
        "key": cause.key,
        "at": moment(cause.at),
        "node_id": row.node_id,
        "sku": row.sku,
        "bucket": row.condition,
        "delta": row.quantity,
        "kind": cause.kind,
        "occurred_at": None,
    }
