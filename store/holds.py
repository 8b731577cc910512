"""Units a cart holds for a while; they are sellable again when the hold ends.

An order that names its cart's hold binds it when it is accepted: from then on the hold does not
expire, routing counts its units as the order's own, and reserving the order's first plan gives it
up in the same transaction. Where the order is never reserved, its end gives the units back. A hold
that only a later version of the order names still expires: that version may need no new plan.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from domain.errors import ConflictError, ShortageError, UnknownReferenceError
from domain.plans import TimelineEntry
from domain.values import Id, Model, Quantity, UtcTime
from store import timeline
from store.columns import changed, query, statement
from store.driver import Sql, fetch, write
from store.engine import is_sqlite
from store.granting import grant_all
from store.hold_rows import (
    LINES,
    OF_ORDERS,
    SEEN_OF_ORDERS,
    HoldLine,
    ended_hold,
    endings,
    free_expired,
    give_back,
    lines_of,
    units_of,
)
from store.ledger import Cause
from store.operations import claim
from store.shelf import Place, Shelf

Ending = Literal["released", "expired", "used"]

_HEAD = statement(
    "INSERT INTO cart_holds (hold_id, channel, expires_at)"
    " VALUES (:hold_id, :channel, :expires_at)",
    "cart_holds",
)
_READ = "SELECT * FROM cart_holds WHERE hold_id = :hold_id"
_READ_HEAD = query(_READ, "cart_holds")
_LOCK_HEAD = query(f"{_READ} FOR UPDATE", "cart_holds")
_EXPIRED = "SELECT hold_id FROM cart_holds WHERE ended IS NULL AND expires_at <= :expires_at"
_SOME_EXPIRED = query(f"{_EXPIRED} ORDER BY expires_at, hold_id LIMIT :row_limit", "cart_holds")
_SOME_EXPIRED_LOCKING = query(
    f"{_EXPIRED} ORDER BY expires_at, hold_id LIMIT :row_limit FOR UPDATE SKIP LOCKED",
    "cart_holds",
)
_EXTEND = statement(
    "UPDATE cart_holds SET expires_at = :expires_at WHERE hold_id = :hold_id", "cart_holds"
)
_BIND = statement(
    "UPDATE cart_holds SET order_id = :order_id, expires_at = CASE WHEN :expires"
    " THEN expires_at ELSE NULL END WHERE hold_id = :hold_id"
    " AND order_id IS NULL AND ended IS NULL AND expires_at > :expires_at",
    "cart_holds",
)
_UNCOUNTED = query(
    "SELECT sku FROM products WHERE sku IN :skus AND supply_mode <> 'stocked'",
    "products",
    lists=["skus"],
)


class HoldItem(Model):
    """Units of a SKU at a node that a line of a cart wants kept."""

    line_id: Id
    node_id: Id
    sku: Id
    quantity: Quantity


class HeldItem(Model):
    """A line of a hold: units wanted and units held, fewer where a partial hold was asked for."""

    line_id: str
    node_id: str
    sku: str
    wanted: int
    quantity: int

    @property
    def missing(self) -> int:
        """Units that were not there."""
        return self.wanted - self.quantity


class CartHold(Model):
    """A hold as it is now. Bound to a new order it does not expire; ended, it holds nothing."""

    hold_id: str
    channel: str = ""
    order_id: str | None = None
    expires_at: UtcTime | None = None
    ended: Ending | None = None
    lines: tuple[HeldItem, ...] = ()

    def is_over(self, now: datetime) -> bool:
        """Whether the cart has lost it, also where the units were not given back yet."""
        past = self.expires_at is not None and self.expires_at <= now
        return self.ended is not None or past

    def as_of(self, now: datetime) -> "CartHold":
        """The hold as its cart may see it: past its time it is expired, given back or not."""
        if self.ended is not None or not self.is_over(now):
            return self
        return self.model_copy(update={"ended": "expired", "lines": ()})


def hold(
    session: Session,
    hold_id: str,
    items: Iterable[HoldItem],
    *,
    lasting: timedelta,
    now: datetime,
    channel: str = "",
    partial: bool = False,
) -> CartHold:
    """Hold units until `now + lasting`, all or none; with `partial`, those that are there.

    A channel may hold what is protected for it. The same hold id again changes nothing and answers
    with the hold as it is now. Raises ConflictError when that id was used with other content,
    ShortageError with every (node, SKU) that has too few, also where a partial hold would hold
    nothing; the transaction must then roll back.
    """
    wanted = sorted(items, key=lambda item: (item.line_id, item.node_id))
    content = [[item.model_dump(mode="json") for item in wanted], channel, partial]
    if not claim(session, f"hold/{hold_id}", "hold", now, content=content).is_new:
        return load(session, hold_id)
    expires_at = now + lasting
    rows = _take(session, hold_id, wanted, channel, partial, now)
    session.execute(_HEAD, {"hold_id": hold_id, "channel": channel, "expires_at": expires_at})
    write(session, (LINES, rows))
    return load(session, hold_id)


def load(session: Session, hold_id: str) -> CartHold:
    """A hold as it is now. Raises UnknownReferenceError."""
    head = _head(session, hold_id)
    lines = [line._asdict() for line in lines_of(session, [hold_id])]
    return CartHold.model_construct(
        **head, lines=tuple(HeldItem.model_construct(**line) for line in lines)
    )


def extend(session: Session, hold_id: str, *, lasting: timedelta, now: datetime) -> CartHold:
    """Let a hold expire at `now + lasting` instead. Raises ConflictError when it is over or bound.

    Raises UnknownReferenceError when there never was one of that id.
    """
    held = CartHold.model_construct(**_head(session, hold_id, locked=True))
    _refuse_bound(held, now)
    if held.is_over(now):
        raise ConflictError(f"reservation '{hold_id}' has ended: make a new one")
    session.execute(_EXTEND, {"hold_id": hold_id, "expires_at": now + lasting})
    return load(session, hold_id)


def release(session: Session, hold_id: str, *, now: datetime) -> None:
    """End a hold; its units are sellable again. Nothing happens when it has ended before.

    Raises UnknownReferenceError when there never was one of that id, ConflictError when an order
    has taken it over: also when that order has used it, for its units are not given back then.
    """
    held = CartHold.model_construct(**_head(session, hold_id, locked=True))
    _refuse_bound(held, now)
    if held.ended is None:
        _end(session, lines_of(session, [hold_id]), [hold_id], "released", now)


def expire(session: Session, *, now: datetime, limit: int = 100) -> int:
    """End the holds whose time is over, at most `limit`; how many."""
    sql = _SOME_EXPIRED if is_sqlite(session) else _SOME_EXPIRED_LOCKING
    rows = session.execute(sql, {"expires_at": now, "row_limit": limit})
    expired = [row.hold_id for row in rows]
    if expired:
        _end(session, lines_of(session, expired), expired, "expired", now)
    return len(expired)


def bind(
    session: Session, hold_id: str, order_id: str, *, now: datetime, expires: bool = False
) -> None:
    """Let the order have what its cart holds, and note on its timeline what became of that.

    The hold does not expire from now on, unless it is told to: for a change of an order, which may
    come to nothing that has to be planned. One that is over, unknown or another order's changes
    nothing: the order goes on without it.
    """
    bound = {"hold_id": hold_id, "order_id": order_id, "expires_at": now, "expires": expires}
    if changed(session, _BIND, bound):
        said = "The cart's reservation is kept for this order"
        if expires:
            said = f"{said} until its time is over"
    else:
        found = session.execute(_READ_HEAD, {"hold_id": hold_id}).mappings().one_or_none()
        if found is not None and found["order_id"] == order_id:
            return
        said = f"The cart's reservation {_why_not(found)}: the order goes on without it"
    entry = TimelineEntry(key=f"hold/{hold_id}", at=now, kind="hold", text=said)
    timeline.note(session, order_id, [entry])


def own_units(session: Session, order_id: str) -> dict[str, dict[str, int]]:
    """SKU -> node id -> units that carts hold for the order."""
    own: dict[str, dict[str, int]] = {}
    lines = _bound_lines(session, order_id, SEEN_OF_ORDERS)
    for (node_id, sku), quantity in units_of(lines).items():
        own.setdefault(sku, {})[node_id] = quantity
    return own


def free_bound(session: Session, order_id: str, *, now: datetime) -> None:
    """Give back what the order never used of its cart's hold."""
    lines = _bound_lines(session, order_id, OF_ORDERS)
    if lines:
        _end(session, lines, sorted({line.hold_id for line in lines}), "released", now)


def _bound_lines(session: Session, order_id: str, sql: Sql) -> list[HoldLine]:
    [rows] = fetch(session, (sql, [{"order_id": order_id}]))
    return [HoldLine(*row) for row in rows]


def _head(session: Session, hold_id: str, *, locked: bool = False) -> dict[str, Any]:
    sql = _LOCK_HEAD if locked and not is_sqlite(session) else _READ_HEAD
    found = session.execute(sql, {"hold_id": hold_id}).mappings().one_or_none()
    if found is None:
        raise UnknownReferenceError(f"no reservation '{hold_id}'")
    return dict(found)


def _refuse_bound(held: CartHold, now: datetime) -> None:
    if held.order_id is not None and (held.ended == "used" or not held.is_over(now)):
        raise ConflictError(
            f"reservation '{held.hold_id}' belongs to order '{held.order_id}': cancel that instead"
        )


def _why_not(found: Any) -> str:
    if found is None:
        return "is not known"
    if found["order_id"] is not None:
        return "belongs to another order"
    return "was given back" if found["ended"] == "released" else "has expired"


def _end(
    session: Session,
    lines: Sequence[HoldLine],
    hold_ids: Sequence[str],
    why: Ending,
    now: datetime,
) -> None:
    shelf = Shelf(session, units_of(lines), (), now)
    give_back(shelf, lines, now)
    write(session, *shelf.changes(), *endings(dict.fromkeys(hold_ids, why)))
    for hold_id in sorted(hold_ids):
        freed = {
            place: {"held": -units}
            for place, units in units_of(x for x in lines if x.hold_id == hold_id).items()
        }
        grant_all(session, freed, ended_hold(hold_id, now))


def _take(
    session: Session,
    hold_id: str,
    items: Sequence[HoldItem],
    channel: str,
    partial: bool,
    now: datetime,
) -> list[dict[str, Any]]:
    """Take what is there for each item in turn; the lines to keep."""
    skus = sorted({item.sku for item in items})
    endless = set(session.execute(_UNCOUNTED, {"skus": skus}).scalars())
    wanted: dict[Place, int] = {}
    for item in items:
        if item.sku not in endless:
            place = (item.node_id, item.sku)
            wanted[place] = wanted.get(place, 0) + item.quantity
    shelf = Shelf(session, wanted, [channel], now)
    short = _short_after_expiry(session, shelf, wanted, channel, now)
    got = {place: min(units, shelf.left(place, channel, {})) for place, units in wanted.items()}
    has_nothing = not endless and not any(got.values())
    if short and (has_nothing or not partial):
        names = ", ".join(f"{sku} at {node_id}" for node_id, sku in short)
        raise ShortageError(f"not enough: {names}", short=short)
    shelf.take(
        {place: units for place, units in got.items() if units},
        "held",
        channel,
        Cause(f"hold/{hold_id}", now, "hold"),
    )
    write(session, *shelf.changes())
    return [_row(hold_id, item, got, item.sku not in endless) for item in items]


def _short_after_expiry(
    session: Session, shelf: Shelf, wanted: dict[Place, int], channel: str, now: datetime
) -> tuple[Place, ...]:
    short = shelf.short(wanted, channel, {})
    if free_expired(session, shelf, short, now):
        short = shelf.short(wanted, channel, {})
    return short


def _row(hold_id: str, item: HoldItem, left: dict[Place, int], is_counted: bool) -> dict[str, Any]:
    place = (item.node_id, item.sku)
    quantity = item.quantity
    if is_counted:
        quantity = min(quantity, left[place])
        left[place] -= quantity
    return {
        "hold_id": hold_id,
        "line_id": item.line_id,
        "node_id": item.node_id,
        "sku": item.sku,
        "wanted": item.quantity,
        "quantity": quantity,
        "counted": is_counted,
    }
