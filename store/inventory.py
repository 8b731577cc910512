"""Stock at nodes: counts, adjustments, arrivals, and what may be sold."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from domain.routing.decision import InboundSupply
from domain.values import Count, Id, Model, Quantity, UtcTime
from store import ledger, outbox
from store.columns import query, statement
from store.counts import Counted, counted_changes
from store.engine import is_sqlite
from store.ledger import SELLABLE, Cause, Changes, Position, lock_positions, position_of_row
from store.operations import claim, finish
from store.tables.stock import BUCKETS

COUNT_CHUNK = 400
"""Rows of a stock count handled at once: SQLite allows so many parameters."""


class Condition(StrEnum):
    """What state a unit is in; only usable units are sold."""

    USABLE = "usable"
    DAMAGED = "damaged"
    QUARANTINE = "quarantine"
    SUSPECT = "suspect"


class StockCount(Model):
    """So many units of a SKU in one condition lay at a node at `counted_at`."""

    node_id: Id
    sku: Id
    condition: Condition = Condition.USABLE
    quantity: Count
    counted_at: UtcTime


class Grant(Model):
    """Units that arrived and were reserved for a line that waited for them."""

    reservation_id: str
    order_id: str
    line_id: str
    sku: str
    node_id: str
    quantity: int


class Unexplained(Model):
    """A bucket that does not hold what the ledger says."""

    node_id: str
    sku: str
    bucket: str
    holds: int
    ledger: int


class Expected(Model):
    """Dated supply: units due at a node under a purchase order, transfer or production order."""

    supply_id: Id
    node_id: Id
    sku: Id
    quantity: Quantity
    due: UtcTime


_ONE = query("SELECT * FROM positions WHERE sku = :sku AND node_id = :node_id", "positions")
_OF_SKU = query("SELECT * FROM positions WHERE sku = :sku ORDER BY node_id", "positions")
_AVAILABLE = query(
    f"SELECT sku, node_id, {SELLABLE} AS ats FROM positions"  # noqa: S608 (no outside text in it)
    f" WHERE sku IN :skus AND {SELLABLE} > 0",
    "positions",
    lists=["skus"],
)
_KNOWN_NODES = query(
    "SELECT node_id, document FROM nodes WHERE node_id IN :node_ids", "nodes", lists=["node_ids"]
)
_OVERSOLD = query(
    "SELECT * FROM positions WHERE held + reserved + released + claimed > usable"
    " ORDER BY node_id, sku",
    "positions",
)
_WAITED_FOR = query(
    "SELECT DISTINCT sku FROM backorders WHERE sku IN :skus AND quantity > 0",
    "backorders",
    lists=["skus"],
)
_QUEUE = (
    "SELECT order_id, line_id, quantity FROM backorders WHERE sku = :sku AND quantity > 0"
    " AND EXISTS (SELECT 1 FROM nodes WHERE nodes.node_id = :node_id AND nodes.active)"
    " ORDER BY demand_class, CASE WHEN promise_at IS NULL THEN 1 ELSE 0 END, promise_at, since,"
    " order_id, line_id LIMIT :row_limit"
)
_QUEUE_SQLITE = query(_QUEUE, "backorders")
# A row that its own order is changing right now is passed over: neither waits for the other.
_QUEUE_LOCKING = query(f"{_QUEUE} FOR UPDATE SKIP LOCKED", "backorders")
_NUMBER_GRANT = query(
    "INSERT INTO grants (order_id, granted_at) VALUES (:order_id, :granted_at) RETURNING id",
    "grants",
)
_RESERVE_GRANT = statement(
    "INSERT INTO reservations (reservation_id, line_id, node_id, sku, order_id, quantity,"
    " reserved, released, consumed, freed, granted, counted) VALUES (:reservation_id, :line_id,"
    " :node_id, :sku, :order_id, :quantity, :quantity, 0, 0, 0, :granted, :counted)",
    "reservations",
)
_SERVE = statement(
    "UPDATE backorders SET quantity = quantity - :quantity"
    " WHERE order_id = :order_id AND line_id = :line_id",
    "backorders",
)
_SERVED = statement("DELETE FROM backorders WHERE sku = :sku AND quantity = 0", "backorders")
_EXPECT = statement(
    "INSERT INTO supply (supply_id, sku, node_id, quantity, due)"
    " VALUES (:supply_id, :sku, :node_id, :quantity, :due)"
    " ON CONFLICT (supply_id, sku, node_id)"
    " DO UPDATE SET quantity = excluded.quantity, due = excluded.due",
    "supply",
)
_ARRIVED = statement(
    "UPDATE supply SET quantity = CASE WHEN quantity > :arrived THEN quantity - :arrived ELSE 0 END"
    " WHERE supply_id = :supply_id AND sku = :sku AND node_id = :node_id",
    "supply",
)
_INBOUND = query(
    "SELECT node_id, sku, quantity, due FROM supply WHERE sku IN :skus AND quantity > 0"
    " ORDER BY due, node_id, sku, supply_id",
    "supply",
    lists=["skus"],
)


def position(session: Session, node_id: str, sku: str) -> Position:
    """One position; all zero when the node never had the SKU."""
    found = session.execute(_ONE, {"node_id": node_id, "sku": sku}).mappings().one_or_none()
    return Position(node_id=node_id, sku=sku) if found is None else position_of_row(found)


def positions_of(session: Session, sku: str) -> list[Position]:
    """The positions of a SKU at every node that ever had it, by node id."""
    return [position_of_row(row) for row in session.execute(_OF_SKU, {"sku": sku}).mappings()]


def availability(session: Session, skus: Iterable[str]) -> dict[str, dict[str, int]]:
    """SKU -> node id -> sellable units; nodes with none are left out, every SKU asked is there."""
    found: dict[str, dict[str, int]] = {sku: {} for sku in sorted(set(skus))}
    if found:
        for sku, node_id, ats in session.execute(_AVAILABLE, {"skus": list(found)}).all():
            found[sku][node_id] = ats
    return found


def oversold(session: Session) -> list[Position]:
    """Positions that owe more units than they have: a count or adjustment found fewer."""
    return [position_of_row(row) for row in session.execute(_OVERSOLD).mappings()]


def unexplained(session: Session) -> list[Unexplained]:
    """Buckets whose value is not the sum of their ledger rows; empty unless something is broken."""
    # Buckets and ledger are compared as two lists of (position, bucket, amount) that must cancel.
    parts = " UNION ALL ".join(
        f"SELECT node_id, sku, '{bucket}' AS bucket, {bucket} AS holds, 0 AS booked FROM positions"  # noqa: S608 (own names)
        for bucket in BUCKETS
    )
    rows = session.execute(
        statement(
            "SELECT node_id, sku, bucket, sum(holds) AS holds, sum(booked) AS booked"  # noqa: S608 (own names)
            f" FROM ({parts} UNION ALL SELECT node_id, sku, bucket, 0, delta FROM ledger) AS sides"
            " GROUP BY node_id, sku, bucket HAVING sum(holds) <> sum(booked)"
            " ORDER BY node_id, sku, bucket"
        )
    )
    return [
        Unexplained(
            node_id=row.node_id,
            sku=row.sku,
            bucket=row.bucket,
            holds=int(row.holds),
            ledger=int(row.booked),
        )
        for row in rows
    ]


def set_stock(
    session: Session, rows: Iterable[StockCount], *, key: str, now: datetime
) -> tuple[Grant, ...]:
    """Take over a stock count: what lay there at `counted_at`, and every later move on top.

    A row older than the last count of its position and condition is ignored. A usable count
    settles suspect units of that time too. What orders already have stays theirs. Units found go
    to waiting backorders first: those grants are the answer. Raises UnknownReferenceError when a
    node is unknown, ConflictError when one feed counts the same thing twice; then nothing changed.
    """
    counts = sorted(rows, key=lambda row: (row.node_id, row.sku, row.condition))
    content = [row.model_dump(mode="json") for row in counts]
    first = claim(session, key, "set_stock", now, content=content)
    if not first.is_new:
        return _grants_of(first.result)
    _refuse_repeats(counts)
    nodes = _known_nodes(session, {row.node_id for row in counts})
    grants: list[Grant] = []
    for start in range(0, len(counts), COUNT_CHUNK):
        chunk = counts[start : start + COUNT_CHUNK]
        pairs = {(row.node_id, row.sku) for row in chunk}
        ledger.open_positions(session, pairs)
        positions = lock_positions(session, pairs)
        counted = [
            Counted(row.node_id, row.sku, row.condition.value, row.quantity, row.counted_at)
            for row in chunk
        ]
        changes = counted_changes(session, counted, positions, nodes)
        cause = Cause(key=key, at=now, kind="count")
        ledger.apply(session, changes, cause)
        grants += _grant_all(session, changes, cause)
    finish(session, key, [grant.model_dump() for grant in grants])
    return tuple(grants)


def adjust(
    session: Session,
    node_id: str,
    sku: str,
    condition: str,
    delta: int,
    *,
    key: str,
    now: datetime,
    reason: str,
) -> tuple[Grant, ...]:
    """Add or take units by hand; units found go to waiting backorders first.

    Raises UnknownReferenceError for an unknown node, ConflictError when fewer units are there
    than are taken; then nothing changed.
    """
    content = [node_id, sku, condition, delta, reason]
    first = claim(session, key, "adjust", now, content=content)
    if not first.is_new:
        return _grants_of(first.result)
    bucket = Condition(condition).value
    _known_nodes(session, {node_id})
    ledger.open_positions(session, [(node_id, sku)])
    there = getattr(lock_positions(session, [(node_id, sku)])[node_id, sku], bucket)
    if there + delta < 0:
        raise ConflictError(f"{node_id} has {there} {bucket} units of {sku}: cannot take {-delta}")
    cause = Cause(key=key, at=now, kind="adjust", reason=reason)
    return _apply_and_grant(session, {(node_id, sku): {bucket: delta}}, cause)


def receive(
    session: Session,
    node_id: str,
    sku: str,
    quantity: int,
    *,
    key: str,
    now: datetime,
    supply_id: str | None = None,
) -> tuple[Grant, ...]:
    """Units arrived: waiting backorders get theirs before anything is sellable.

    Each order served gets a reservation `{order_id}-g{n}` and the signal `supply_granted`. With
    `supply_id`, as many units are no longer expected. Raises UnknownReferenceError for an unknown
    node, ValueError when `quantity` is below 1.
    """
    if quantity < 1:
        raise ValueError(f"{quantity} units cannot arrive")
    content = [node_id, sku, quantity, supply_id]
    first = claim(session, key, "receive", now, content=content)
    if not first.is_new:
        return _grants_of(first.result)
    _known_nodes(session, {node_id})
    ledger.open_positions(session, [(node_id, sku)])
    lock_positions(session, [(node_id, sku)])
    if supply_id is not None:
        arrived = {"supply_id": supply_id, "sku": sku, "node_id": node_id, "arrived": quantity}
        session.execute(_ARRIVED, arrived)
    cause = Cause(key=key, at=now, kind="receive", reason=supply_id)
    return _apply_and_grant(session, {(node_id, sku): {"usable": quantity}}, cause)


def keep_back(
    session: Session,
    node_id: str,
    sku: str,
    *,
    safety_stock: int,
    protected: int,
    key: str,
    now: datetime,
) -> tuple[Grant, ...]:
    """Set how many usable units are never sold (safety stock) or kept for others (protected).

    What becomes sellable goes to waiting backorders first. Raises UnknownReferenceError for an
    unknown node, ValueError for a negative number.
    """
    if safety_stock < 0 or protected < 0:
        raise ValueError("safety stock and protected units cannot be negative")
    content = [node_id, sku, safety_stock, protected]
    first = claim(session, key, "keep_back", now, content=content)
    if not first.is_new:
        return _grants_of(first.result)
    _known_nodes(session, {node_id})
    ledger.open_positions(session, [(node_id, sku)])
    kept = lock_positions(session, [(node_id, sku)])[node_id, sku]
    deltas = {
        "safety_stock": safety_stock - kept.safety_stock,
        "protected": protected - kept.protected,
    }
    cause = Cause(key=key, at=now, kind="keep_back")
    return _apply_and_grant(session, {(node_id, sku): deltas}, cause)


def expect_supply(session: Session, supplies: Iterable[Expected]) -> None:
    """Add or replace dated supply by (supply id, SKU, node). Raises UnknownReferenceError."""
    rows = [supply.model_dump() for supply in supplies]
    _known_nodes(session, {row["node_id"] for row in rows})
    if rows:
        session.execute(_EXPECT, rows)


def inbound(session: Session, skus: Iterable[str]) -> tuple[InboundSupply, ...]:
    """Units of these SKUs still to come, soonest first."""
    rows = session.execute(_INBOUND, {"skus": sorted(set(skus))})
    return tuple(InboundSupply.model_validate(dict(row)) for row in rows.mappings())


def _apply_and_grant(session: Session, changes: Changes, cause: Cause) -> tuple[Grant, ...]:
    ledger.apply(session, changes, cause)
    grants = _grant_all(session, changes, cause)
    finish(session, cause.key, [grant.model_dump() for grant in grants])
    return tuple(grants)


def _grants_of(result: Sequence[dict[str, object]]) -> tuple[Grant, ...]:
    return tuple(Grant.model_validate(grant) for grant in result)


def _refuse_repeats(counts: Sequence[StockCount]) -> None:
    for one, following in pairwise(counts):
        if (one.node_id, one.sku, one.condition) == (
            following.node_id,
            following.sku,
            following.condition,
        ):
            raise ConflictError(
                f"the feed counts {one.condition} {one.sku} at {one.node_id} more than once"
            )


def _known_nodes(session: Session, node_ids: set[str]) -> dict[str, dict[str, object]]:
    rows = session.execute(_KNOWN_NODES, {"node_ids": sorted(node_ids)})
    found = {row.node_id: row.document for row in rows}
    unknown = sorted(node_ids - set(found))
    if unknown:
        raise UnknownReferenceError(f"no node '{unknown[0]}': import it with the network first")
    return found


def _grant_all(session: Session, changes: Changes, cause: Cause) -> list[Grant]:
    rising = sorted(pair for pair, buckets in changes.items() if _frees(buckets))
    if not rising:
        return []
    skus = sorted({sku for _, sku in rising})
    waited_for = set(session.execute(_WAITED_FOR, {"skus": skus}).scalars())
    grants: list[Grant] = []
    for node_id, sku in rising:
        if sku in waited_for:
            grants += _grant(session, node_id, sku, cause)
    return grants


def _frees(buckets: dict[str, int]) -> bool:
    kept = buckets.get("safety_stock", 0) + buckets.get("protected", 0)
    return buckets.get("usable", 0) - kept > 0


def _grant(session: Session, node_id: str, sku: str, cause: Cause) -> list[Grant]:
    left = position(session, node_id, sku).sellable
    if left <= 0:
        return []
    sql = _QUEUE_SQLITE if is_sqlite(session) else _QUEUE_LOCKING
    waiting = session.execute(sql, {"sku": sku, "node_id": node_id, "row_limit": left}).all()
    grants: list[Grant] = []
    numbers: dict[str, str] = {}
    for order_id, line_id, wanted in waiting:
        quantity = min(wanted, left)
        if quantity == 0:
            break
        left -= quantity
        if order_id not in numbers:
            numbers[order_id] = _new_reservation_id(session, order_id, cause.at)
        grants.append(
            Grant(
                reservation_id=numbers[order_id],
                order_id=order_id,
                line_id=line_id,
                sku=sku,
                node_id=node_id,
                quantity=quantity,
            )
        )
    if grants:
        _hand_out(session, grants, cause)
    return grants


def _new_reservation_id(session: Session, order_id: str, now: datetime) -> str:
    number = session.execute(_NUMBER_GRANT, {"order_id": order_id, "granted_at": now}).scalar_one()
    return f"{order_id}-g{number}"


def _hand_out(session: Session, grants: Sequence[Grant], cause: Cause) -> None:
    rows = [{**grant.model_dump(), "granted": True, "counted": True} for grant in grants]
    session.execute(_RESERVE_GRANT, rows)
    session.execute(_SERVE, rows)
    session.execute(_SERVED, {"sku": grants[0].sku})
    claimed = sum(grant.quantity for grant in grants)
    pair = (grants[0].node_id, grants[0].sku)
    ledger.apply(session, {pair: {"claimed": claimed}}, cause)
    for reservation_id, order_id in sorted({(x.reservation_id, x.order_id) for x in grants}):
        outbox.send(
            session,
            f"order-{order_id}",
            "supply_granted",
            {"request_id": reservation_id, "reservation_id": reservation_id},
            key=f"supply_granted/{reservation_id}",
            now=cause.at,
        )
