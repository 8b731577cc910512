"""What nodes' systems and people report of stock beside counts, and what does not agree."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.values import Id, Model, Quantity, UtcTime
from store import ledger
from store.columns import query
from store.counts import Counted, note_disagreement, was_counted
from store.granting import Grant, grants_of
from store.inventory import known_nodes, settle
from store.ledger import Cause, lock_positions
from store.operations import claim, finish

_LISTED = query(
    "SELECT id, key, kind, node_id, sku, condition, expected, found, occurred_at, noted_at"
    " FROM discrepancies WHERE (:node_id = '' OR node_id = :node_id)"
    " AND (:sku = '' OR sku = :sku) AND id < :id_before ORDER BY id DESC LIMIT :row_limit",
    "discrepancies",
)
_OWED = query(
    "SELECT node_id, sku, usable, held, reserved, released, claimed FROM positions"
    " WHERE held + reserved + released + claimed > usable"
    " AND (:node_id = '' OR node_id = :node_id) AND (:sku = '' OR sku = :sku)"
    " ORDER BY node_id, sku LIMIT :row_limit",
    "positions",
)
_ORDERS_AT = query(
    "SELECT r.order_id, r.line_id, sum(r.reserved) AS reserved, sum(r.released) AS released"
    " FROM reservations r LEFT JOIN orders o ON o.order_id = r.order_id"
    " WHERE r.node_id = :node_id AND r.sku = :sku AND r.counted"
    " AND (r.reserved > 0 OR r.released > 0) GROUP BY r.order_id, r.line_id, o.received_at"
    " ORDER BY o.received_at DESC, r.order_id DESC, r.line_id DESC",
    "reservations",
    "orders",
)
_NO_ID_YET = 2**62


class TillSale(Model):
    """Units sold over the counter of a node."""

    node_id: Id
    sku: Id
    quantity: Quantity
    sold_at: UtcTime


class Sold(Model):
    """What a till sale did: units taken off, units sold that were not believed to be there.

    Both are 0 where a newer count had seen the sale. `owed` units that orders have are now short.
    """

    taken: int
    unexpected: int
    owed: int
    grants: tuple[Grant, ...] = ()


class Discrepancy(Model):
    """A count or till sale that did not agree with what was believed.

    For a count, `expected` units were believed to be there and `found` were; for a till sale,
    `expected` were there and `found` were sold.
    """

    id: int
    key: str
    kind: str
    node_id: str
    sku: str
    condition: str
    expected: int
    found: int
    occurred_at: datetime
    noted_at: datetime


class Uncovered(Model):
    """Units of an order's line at a node that owes more than it has."""

    order_id: str
    line_id: str
    quantity: int
    released: bool
    """Whether the node works on them already: then it will report them short."""


class Oversold(Model):
    """A position that owes more than it has, and the orders it cannot serve, newest first."""

    node_id: str
    sku: str
    usable: int
    promised: int
    owed: int
    orders: tuple[Uncovered, ...] = ()


def sell_at_till(session: Session, sale: TillSale, *, key: str, now: datetime) -> Sold:
    """Take units off that were sold over the counter, also such as orders have.

    The customer has them already, so it is never refused. Raises UnknownReferenceError for an
    unknown node.
    """
    first = claim(session, key, "till_sale", now, content=sale.model_dump(mode="json"))
    if not first.is_new:
        return _sold(first.result)
    known_nodes(session, {sale.node_id})
    pair = (sale.node_id, sale.sku)
    ledger.open_positions(session, [pair])
    positions = lock_positions(session, [pair])
    place = positions[pair]
    occurred_at = min(sale.sold_at, now)
    taken = unexpected = 0
    grants: list[Grant] = []
    if not was_counted(session, *pair, "usable", occurred_at):
        cause = Cause(key=key, at=now, kind="till_sale", occurred_at=occurred_at)
        taken = min(sale.quantity, place.usable)
        unexpected = sale.quantity - taken
        if unexpected:
            seen = Counted(*pair, "usable", sale.quantity, occurred_at)
            note_disagreement(
                session, seen, expected=place.usable, found=sale.quantity, cause=cause
            )
        grants = settle(session, positions, {pair: {"usable": -taken}}, cause)
    owed = max(0, place.spoken_for - (place.usable - taken))
    sold = Sold(taken=taken, unexpected=unexpected, owed=owed, grants=tuple(grants))
    finish(session, key, sold.model_dump())
    return sold


def discrepancies(
    session: Session,
    *,
    node_id: str = "",
    sku: str = "",
    before: int | None = None,
    limit: int = 100,
) -> list[Discrepancy]:
    """What did not agree, newest first; `before`: only those with a smaller id."""
    asked = {
        "node_id": node_id,
        "sku": sku,
        "id_before": _NO_ID_YET if before is None else before,
        "row_limit": limit,
    }
    return [
        Discrepancy.model_validate(dict(row)) for row in session.execute(_LISTED, asked).mappings()
    ]


def oversold_positions(
    session: Session, *, node_id: str = "", sku: str = "", limit: int = 100
) -> list[Oversold]:
    """Positions that owe more than they have, and whom they cannot serve."""
    asked = {"node_id": node_id, "sku": sku, "row_limit": limit}
    return [_oversold(session, row) for row in session.execute(_OWED, asked).all()]


def _oversold(session: Session, row: Any) -> Oversold:
    promised = row.held + row.reserved + row.released + row.claimed
    owed = promised - row.usable
    orders = session.execute(_ORDERS_AT, {"node_id": row.node_id, "sku": row.sku}).all()
    return Oversold(
        node_id=row.node_id,
        sku=row.sku,
        usable=row.usable,
        promised=promised,
        owed=owed,
        orders=tuple(_uncovered(orders, owed)),
    )


def _uncovered(orders: Iterable[Any], owed: int) -> Iterable[Uncovered]:
    # Units not yet handed to the node can still go elsewhere: they are short first.
    left = owed
    waiting = list(orders)
    for is_released in (False, True):
        for row in waiting:
            units = min(left, int(row.released if is_released else row.reserved))
            if units > 0:
                left -= units
                yield Uncovered(
                    order_id=row.order_id,
                    line_id=row.line_id,
                    quantity=units,
                    released=is_released,
                )


def _sold(result: dict[str, Any]) -> Sold:
    grants: Sequence[dict[str, object]] = result["grants"]
    return Sold.model_validate({**result, "grants": grants_of(grants)})
