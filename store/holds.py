"""Units a cart holds for a while; they are sellable again when the hold ends."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import ShortageError
from store import ledger
from store.columns import query, statement
from store.engine import is_sqlite
from store.ledger import Cause, Changes
from store.operations import claim

_INSERT = statement(
    "INSERT INTO holds (hold_id, node_id, sku, quantity, expires_at)"
    " VALUES (:hold_id, :node_id, :sku, :quantity, :expires_at)",
    "holds",
)
_DELETE = statement("DELETE FROM holds WHERE hold_id = :hold_id", "holds")
_READ = "SELECT node_id, sku, quantity FROM holds WHERE hold_id = :hold_id ORDER BY node_id, sku"
_READ_SQLITE = query(_READ, "holds")
_READ_LOCKING = query(f"{_READ} FOR UPDATE", "holds")
_KNOWN = query("SELECT key FROM operations WHERE key = :key", "operations")
_EXPIRED = query(
    "SELECT DISTINCT hold_id FROM holds WHERE expires_at <= :expires_at"
    " ORDER BY hold_id LIMIT :row_limit",
    "holds",
)


def hold(
    session: Session,
    hold_id: str,
    lines: Iterable[tuple[str, str, int]],
    *,
    expires_at: datetime,
    now: datetime,
) -> datetime:
    """Hold units of (node id, SKU, quantity), all or none; until when.

    The same hold id again changes nothing and answers with the first one's end. Raises
    ShortageError with every (node, SKU) that has too few; the transaction must roll back.
    """
    key = f"hold/{hold_id}"
    first = claim(session, key, "hold", now, expires_at.isoformat())
    if not first.is_new:
        return datetime.fromisoformat(first.result)
    wanted: dict[tuple[str, str], int] = {}
    for node_id, sku, quantity in lines:
        wanted[node_id, sku] = wanted.get((node_id, sku), 0) + quantity
    short = ledger.take(session, wanted, Cause(key, now, "hold"), bucket="held")
    if short:
        names = ", ".join(f"{sku} at {node_id}" for node_id, sku in short)
        raise ShortageError(f"not enough: {names}", short=short)
    rows = [
        {
            "hold_id": hold_id,
            "node_id": node_id,
            "sku": sku,
            "quantity": quantity,
            "expires_at": expires_at,
        }
        for (node_id, sku), quantity in sorted(wanted.items())
    ]
    if rows:
        session.execute(_INSERT, rows)
    return expires_at


def release(session: Session, hold_id: str, *, now: datetime) -> bool:
    """End a hold; its units are sellable again. False when there never was one of that id.

    An order that takes over its cart's hold releases it and reserves in one transaction.
    """
    rows = _held(session, hold_id)
    if not rows:
        return session.execute(_KNOWN, {"key": f"hold/{hold_id}"}).one_or_none() is not None
    changes: Changes = {(row.node_id, row.sku): {"held": -row.quantity} for row in rows}
    ledger.apply(session, changes, Cause(f"hold/{hold_id}/end", now, "end_hold"))
    session.execute(_DELETE, {"hold_id": hold_id})
    return True


def expire(session: Session, *, now: datetime, limit: int = 100) -> int:
    """End the holds whose time is over, at most `limit`; how many."""
    expired = session.execute(_EXPIRED, {"expires_at": now, "row_limit": limit}).scalars().all()
    for hold_id in expired:
        release(session, hold_id, now=now)
    return len(expired)


def _held(session: Session, hold_id: str) -> Sequence[Any]:
    sql = _READ_SQLITE if is_sqlite(session) else _READ_LOCKING
    return session.execute(sql, {"hold_id": hold_id}).all()
