"""Bringing positions to what the stock rules want: after new rules, every day, and after sales."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.values import Model
from store.columns import query, statement
from store.engine import is_sqlite
from store.inventory import settle
from store.ledger import Cause, lock_positions
from store.operations import claim, finish
from store.protection import to_refill
from store.stock_rules import measure_velocity, rules_in_force

PIECE = 500
"""Positions of one transaction: others wait for it."""

_LOCK = statement("SELECT pg_advisory_xact_lock(7238)")
_NEXT = query(
    "SELECT sku, node_id FROM positions WHERE (sku, node_id) > (:sku, :node_id)"
    " ORDER BY sku, node_id LIMIT :row_limit",
    "positions",
)
_STATE = query("SELECT result FROM operations WHERE key = :key", "operations")


class Piece(Model):
    """What one transaction looked at; `is_last`: nothing is left to do until something changes."""

    positions: int
    granted: int
    """Units that became sellable and went to orders that waited."""
    is_last: bool


def evaluate_next(session: Session, now: datetime) -> Piece:
    """Evaluate the next positions of the pass of today and of the rules in force.

    Each day and each document of rules gets one pass over all positions, which goes on where it
    stopped; it begins with measuring the velocities. When it is done, protections that were sold
    from are filled up. Any process may call this at any time.
    """
    if not is_sqlite(session):
        session.execute(_LOCK)
    found = rules_in_force(session)
    if found is None:
        return _refill(session, now)
    key = f"stock_rules/{found.number}/{now.date().isoformat()}"
    start: dict[str, Any] = {"sku": "", "node_id": "", "pieces": 0, "done": False}
    first = claim(session, key, "stock_rules", now, start)
    if first.is_new:
        measure_velocity(session, found.rules.velocity_days, now)
    state = start if first.is_new else first.result
    if state["done"]:
        return _refill(session, now)
    place = {"sku": state["sku"], "node_id": state["node_id"], "row_limit": PIECE}
    rows = session.execute(_NEXT, place).all()
    pairs = [(row.node_id, row.sku) for row in rows]
    cause = Cause(f"{key}/{state['pieces']}", now, "stock_rules", reason=found.version)
    granted = _settle(session, pairs, cause)
    is_done = len(rows) < PIECE
    last = {"sku": rows[-1].sku, "node_id": rows[-1].node_id} if rows else {}
    finish(session, key, {**state, **last, "pieces": state["pieces"] + 1, "done": is_done})
    return Piece(positions=len(rows), granted=granted, is_last=is_done)


def is_evaluated(session: Session, now: datetime) -> bool:
    """Whether every position has what the rules in force want, as of today."""
    found = rules_in_force(session)
    if found is None:
        return True
    key = f"stock_rules/{found.number}/{now.date().isoformat()}"
    row = session.execute(_STATE, {"key": key}).one_or_none()
    return row is not None and bool(row.result["done"])


def _refill(session: Session, now: datetime) -> Piece:
    pairs = to_refill(session, limit=PIECE)
    cause = Cause(f"refill/{now.isoformat()}", now, "stock_rules")
    granted = _settle(session, pairs, cause)
    return Piece(positions=len(pairs), granted=granted, is_last=len(pairs) < PIECE)


def _settle(session: Session, pairs: list[tuple[str, str]], cause: Cause) -> int:
    if not pairs:
        return 0
    grants = settle(session, lock_positions(session, pairs), {}, cause)
    return sum(grant.quantity for grant in grants)
