"""Nodes whose units are not promised for a while: of one SKU, or of all."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.routing.decision import Exclusion
from domain.supply import Block
from store.columns import changed, query, statement
from store.granting import grant_at
from store.ledger import Cause

_PUT = statement(
    "INSERT INTO exclusions (sku, node_id, until, reason) VALUES (:sku, :node_id, :until, :reason)"
    " ON CONFLICT (sku, node_id) DO UPDATE SET until = excluded.until, reason = excluded.reason",
    "exclusions",
)
_LIFT = statement("DELETE FROM exclusions WHERE sku = :sku AND node_id = :node_id", "exclusions")
_OF_SKUS = query(
    "SELECT sku, node_id, until, reason FROM exclusions WHERE sku IN :skus"
    " AND (until IS NULL OR until > :until_now) ORDER BY node_id, sku",
    "exclusions",
    lists=["skus"],
)
_ALL = query(
    "SELECT sku, node_id, until, reason FROM exclusions"
    " WHERE until IS NULL OR until > :until_now ORDER BY node_id, sku",
    "exclusions",
)


def exclude(
    session: Session, node_id: str, sku: str | None, *, until: datetime | None, reason: str
) -> None:
    """Promise nothing of the node (of one SKU, or all) until then, or until it is lifted.

    Replaces what was said of the same node and SKU before; orders keep what they have.
    """
    row = {"sku": sku or "", "node_id": node_id, "until": until, "reason": reason}
    session.execute(_PUT, row)


def lift(session: Session, node_id: str, sku: str | None, now: datetime) -> bool:
    """End an exclusion early; False when there was none. Orders that wait get what lies there."""
    if not changed(session, _LIFT, {"sku": sku or "", "node_id": node_id}):
        return False
    cause = Cause(f"lift/{node_id}/{sku or ''}/{now.isoformat()}", now, "lift_exclusion")
    grant_at(session, node_id, sku, cause)
    return True


def blocks_of(session: Session, skus: Iterable[str], now: datetime) -> list[Block]:
    """The exclusions in force that concern any of these SKUs."""
    rows = session.execute(_OF_SKUS, {"skus": ["", *sorted(set(skus))], "until_now": now})
    return [_block(row) for row in rows]


def all_blocks(session: Session, now: datetime) -> list[Block]:
    """Every exclusion in force, by node and SKU."""
    return [_block(row) for row in session.execute(_ALL, {"until_now": now})]


def excluded(session: Session, skus: Iterable[str], now: datetime) -> list[Exclusion]:
    """The same as routing reads it."""
    return [
        Exclusion(node_id=block.node_id, sku=block.sku, reason=block.reason)
        for block in blocks_of(session, skus, now)
    ]


def _block(row: Any) -> Block:
    return Block(node_id=row.node_id, sku=row.sku or None, until=row.until, reason=row.reason)
