"""Units that became sellable go to orders that wait for them, before anyone else can take them."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from domain.values import Model
from store import ledger, outbox
from store.columns import query, statement
from store.engine import is_sqlite
from store.ledger import SELLABLE, Cause, Changes

_WAITED_FOR = query(
    "SELECT DISTINCT sku FROM backorders WHERE sku IN :skus AND quantity > 0",
    "backorders",
    lists=["skus"],
)
_SELLABLE = query(
    f"SELECT {SELLABLE} AS ats FROM positions"  # noqa: S608 (own names)
    " WHERE sku = :sku AND node_id = :node_id",
    "positions",
)
_QUEUE = (
    "SELECT order_id, line_id, quantity FROM backorders WHERE sku = :sku AND quantity > 0"
    " AND EXISTS (SELECT 1 FROM nodes WHERE nodes.node_id = :node_id AND nodes.active)"
    " AND NOT EXISTS (SELECT 1 FROM exclusions e WHERE e.node_id = :node_id"
    " AND e.sku IN ('', :sku) AND (e.until IS NULL OR e.until > :until_now))"
    " ORDER BY demand_class, CASE WHEN promise_at IS NULL THEN 1 ELSE 0 END, promise_at, since,"
    " order_id, line_id LIMIT :row_limit"
)
_QUEUE_SQLITE = query(_QUEUE, "backorders", "exclusions")
# A row that its own order is changing right now is passed over: neither waits for the other.
_QUEUE_LOCKING = query(f"{_QUEUE} FOR UPDATE SKIP LOCKED", "backorders", "exclusions")
_NUMBER = query(
    "INSERT INTO grants (order_id, granted_at) VALUES (:order_id, :granted_at) RETURNING id",
    "grants",
)
_RESERVE = statement(
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


class Grant(Model):
    """Units that arrived and were reserved for a line that waited for them."""

    reservation_id: str
    order_id: str
    line_id: str
    sku: str
    node_id: str
    quantity: int


def grants_of(result: Sequence[dict[str, object]]) -> tuple[Grant, ...]:
    """Grants as an operation kept them for repeats."""
    return tuple(Grant.model_validate(grant) for grant in result)


def grant_all(session: Session, changes: Changes, cause: Cause) -> list[Grant]:
    """Grant what these changes, already applied to locked positions, made sellable.

    Served by demand class, then promise, then wait; at nodes that are active and not excluded.
    Each order served gets a reservation `{order_id}-g{n}` and the signal `supply_granted`.
    """
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
    left = session.execute(_SELLABLE, {"sku": sku, "node_id": node_id}).scalar_one()
    if left <= 0:
        return []
    sql = _QUEUE_SQLITE if is_sqlite(session) else _QUEUE_LOCKING
    asked = {"sku": sku, "node_id": node_id, "row_limit": left, "until_now": cause.at}
    waiting = session.execute(sql, asked).all()
    grants: list[Grant] = []
    numbers: dict[str, str] = {}
    for order_id, line_id, wanted in waiting:
        quantity = min(wanted, left)
        if quantity == 0:
            break
        left -= quantity
        if order_id not in numbers:
            row = {"order_id": order_id, "granted_at": cause.at}
            numbers[order_id] = f"{order_id}-g{session.execute(_NUMBER, row).scalar_one()}"
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


def _hand_out(session: Session, grants: Sequence[Grant], cause: Cause) -> None:
    rows = [{**grant.model_dump(), "granted": True, "counted": True} for grant in grants]
    session.execute(_RESERVE, rows)
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
