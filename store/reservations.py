"""What orders take from stock and capacity, and give back: all of it, or nothing, and once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from domain.fulfillments import FulfillmentOrder
from domain.routing.decision import Exclusion
from store import ledger
from store.capacity import give_back_capacity
from store.columns import query, statement
from store.counts import RECOUNT, recounted_changes
from store.engine import is_sqlite
from store.fulfillments import add_fulfillments
from store.granting import grant_all
from store.hold_rows import HoldLine, keep
from store.ledger import SET_ASIDE, Cause, Changes, lock_positions
from store.operations import claim, finish, forget
from store.reservation_rows import ReservationRow as _Row
from store.reservation_rows import (
    add_back,
    free_units,
    locked_beside,
    locked_fulfillment,
    locked_reservations,
    settle_plans,
    update_rows,
)
from store.reservation_rows import load_plan as load_plan
from store.reservation_rows import plan_state as plan_state
from store.reservation_rows import plan_was_freed as plan_was_freed
from store.reservation_rows import reserved_plan as reserved_plan
from store.reservation_rows import save_plan as save_plan
from store.reserving import reserve_plan as reserve_plan

Effect = Literal["shelf", "suspect", "damaged"]
Units = tuple[int | str, str, str, int]
"""(plan version or reservation id, node id, line id, quantity)."""

_ADD_BACKORDER = statement(
    "INSERT INTO backorders (order_id, line_id, sku, quantity, demand_class, promise_at, since,"
    " bundle) VALUES (:order_id, :line_id, :sku, :quantity, :demand_class, :promise_at, :since,"
    " :bundle) ON CONFLICT (order_id, line_id) DO UPDATE SET"
    " quantity = backorders.quantity + excluded.quantity,"
    " demand_class = excluded.demand_class, promise_at = excluded.promise_at,"
    " bundle = excluded.bundle",
    "backorders",
)
_BACKORDERED = (
    "SELECT line_id, quantity FROM backorders WHERE order_id = :order_id ORDER BY line_id"
)
_BACKORDERED_SQLITE = query(_BACKORDERED, "backorders")
_BACKORDERED_LOCKING = query(f"{_BACKORDERED} FOR UPDATE", "backorders")
_DROP_BACKORDER = statement(
    "UPDATE backorders SET quantity = quantity - :quantity"
    " WHERE order_id = :order_id AND line_id = :line_id",
    "backorders",
)
_DROPPED = statement(
    "DELETE FROM backorders WHERE order_id = :order_id AND quantity = 0", "backorders"
)
_GRANTED = query(
    "SELECT node_id, line_id, sku, reserved FROM reservations WHERE order_id = :order_id"
    " AND reservation_id = :reservation_id AND granted AND reserved > 0"
    " ORDER BY node_id, line_id",
    "reservations",
)
_COOL_OFF = statement(
    "INSERT INTO cool_offs (node_id, sku, until, reason)"
    " VALUES (:node_id, :sku, :until, :reason) ON CONFLICT (node_id, sku) DO UPDATE SET"
    " until = excluded.until, reason = excluded.reason WHERE excluded.until > cool_offs.until",
    "cool_offs",
)
_COOL_OFFS = query(
    "SELECT node_id, sku, reason FROM cool_offs WHERE sku IN :skus AND until > :until"
    " ORDER BY node_id, sku",
    "cool_offs",
    lists=["skus"],
)


def free_reserved(
    session: Session,
    order_id: str,
    units: Iterable[Units],
    *,
    key: str,
    now: datetime,
    kept_until: datetime | None = None,
) -> None:
    """Give back stock and capacity of units that are reserved and not yet released.

    With `kept_until` the stock is held for the order from the same moment: its next plan takes what
    it needs of it and frees the rest, and whatever is left at that time is sellable.

    Raises ConflictError when fewer are reserved, UnknownReferenceError when there is no such
    reservation; the caller's transaction must then roll back.
    """
    if not claim(session, key, "free_reserved", now).is_new:
        return
    wanted: dict[tuple[str, str, str], int] = {}
    for source, node_id, line_id, quantity in units:
        if quantity < 1:
            raise ValueError(f"{quantity} units of line {line_id} cannot be freed")
        reservation_id = f"{order_id}-r{source}" if isinstance(source, int) else source
        _count_up(wanted, (reservation_id, line_id, node_id), quantity)
    rows = locked_reservations(session, {reservation_id for reservation_id, _, _ in wanted})
    cause = Cause(key, now, "free", order_id)
    held = {} if kept_until is None else _held(rows, wanted)
    _free(session, order_id, rows, wanted, cause, held)
    if kept_until is not None:
        lines = [
            HoldLine(key, order_id, node_id, line_id, sku, quantity, quantity, counted)
            for (node_id, line_id, sku, counted), quantity in sorted(held.items())
        ]
        keep(session, key, order_id, lines, kept_until)


def _held(
    rows: Sequence[_Row], wanted: Mapping[tuple[str, str, str], int]
) -> dict[tuple[str, str, str, bool], int]:
    """Units by (node, line, SKU, counted) of rows and places as `_free` takes them."""
    held: dict[tuple[str, str, str, bool], int] = {}
    for row in rows:
        units = wanted.get((row.reservation_id, row.line_id, row.node_id), 0)
        if units:
            _count_up(held, (row.node_id, row.line_id, row.sku, row.counted), units)
    return held


def give_back_plan(
    session: Session, order_id: str, plan_version: int, *, key: str, now: datetime
) -> None:
    """Give back what that plan still reserves, if anything; what was released stays."""
    rows = locked_reservations(session, {f"{order_id}-r{plan_version}"})
    left = [(plan_version, row.node_id, row.line_id, row.reserved) for row in rows if row.reserved]
    if left:
        free_reserved(session, order_id, left, key=key, now=now)


def claim_release(
    session: Session,
    order_id: str,
    plan_version: int,
    fulfillments: Sequence[FulfillmentOrder],
    *,
    key: str,
    now: datetime,
) -> bool:
    """Freeze these fulfillments of the plan: their units become released, their rows are made.

    False, and nothing changed, when the plan is not reserved any more (replanned, freed) or no
    longer reserves those units; the same key may then be tried again.
    """
    if not claim(session, key, "claim_release", now, True).is_new:
        return True
    reservation_id = f"{order_id}-r{plan_version}"
    rows = locked_reservations(session, {reservation_id})
    by_place = {(row.line_id, row.node_id): row for row in rows}
    # A plan whose units are still reserved is the current one; an empty one has none to look at.
    is_current = bool(fulfillments) or reserved_plan(session, order_id, plan_version) is not None
    if not is_current or not _fits(fulfillments, by_place):
        forget(session, key)
        return False
    changes: Changes = {}
    for fulfillment in fulfillments:
        for line in fulfillment.lines:
            row = by_place[line.line_id, fulfillment.node_id]
            row.reserved -= line.quantity
            row.released += line.quantity
            row.fulfillment_id = fulfillment.fulfillment_id
            if row.counted:
                ledger.add(changes, row.node_id, row.sku, "reserved", -line.quantity)
                ledger.add(changes, row.node_id, row.sku, "released", line.quantity)
    update_rows(session, rows)
    ledger.apply(session, changes, Cause(key, now, "release", order_id))
    settle_plans(session, order_id, rows)
    add_fulfillments(session, plan_version, fulfillments, now)
    return True


def free_released(
    session: Session,
    fulfillment_id: str,
    facts: Iterable[tuple[str, int, Effect]],
    *,
    key: str,
    now: datetime,
) -> list[tuple[str, int]]:
    """Take units back from a fulfillment; (line id, units) that were released until now.

    `shelf`: sellable again, and the node's capacity is given back; `suspect` and `damaged`: usable
    units become so. Never more than is released: the rest of a fact changes nothing.
    """
    first = claim(session, key, "free_released", now)
    if not first.is_new:
        return _pairs(first.result)
    beside = locked_beside(session, fulfillment_id)
    rows = [row for row in beside if row.fulfillment_id == fulfillment_id]
    left = _usable(session, rows)
    to_shelf: Changes = {}
    set_aside: Changes = {}
    back: dict[tuple[str, str], tuple[int, int]] = {}
    freed: dict[str, int] = {}
    for line_id, quantity, effect in facts:
        for row, units in _split(rows, line_id, quantity):
            row.released -= units
            row.freed += units
            _count_up(freed, line_id, units)
            if row.counted and effect == "shelf":
                ledger.add(to_shelf, row.node_id, row.sku, "released", -units)
            elif row.counted:
                _book_set_aside(set_aside, left, row, units, effect)
            if effect == "shelf" and row.work_date is not None:
                add_back(back, beside, row, units)
    given_up = Cause(key, now, "give_up", _order(rows), fulfillment_id)
    _book(session, rows, to_shelf, given_up)
    aside = Cause(f"{key}/aside", now, SET_ASIDE, _order(rows), fulfillment_id)
    ledger.apply(session, set_aside, aside)
    give_back_capacity(session, back)
    grant_all(session, to_shelf, given_up)
    result = sorted(freed.items())
    finish(session, key, result)
    return result


def consume(
    session: Session,
    fulfillment_id: str,
    lines: Iterable[tuple[str, int]],
    *,
    key: str,
    now: datetime,
    occurred_at: datetime | None = None,
) -> list[tuple[str, int]]:
    """Units were handed over and leave stock; (line id, units) consumed by this call.

    Never more than is released: a repeat or an excess changes nothing beyond. With `occurred_at`,
    units that left before the newest count was taken, and that it left out, leave stock no more.
    """
    first = claim(session, key, "consume", now)
    if not first.is_new:
        return _pairs(first.result)
    rows = locked_fulfillment(session, fulfillment_id)
    left = _usable(session, rows)
    changes: Changes = {}
    consumed: dict[str, int] = {}
    for line_id, quantity in lines:
        for row, units in _split(rows, line_id, quantity):
            row.released -= units
            row.consumed += units
            _count_up(consumed, line_id, units)
            if row.counted:
                ledger.add(changes, row.node_id, row.sku, "released", -units)
                _take_usable(changes, left, row, units)
    at = None if occurred_at is None else min(occurred_at, now)
    cause = Cause(key, now, "consume", _order(rows), fulfillment_id, occurred_at=at)
    _book(session, rows, changes, cause)
    if at is not None:
        _recount(session, changes, at, cause)
    result = sorted(consumed.items())
    finish(session, key, result)
    return result


def add_backorder(
    session: Session,
    order_id: str,
    lines: Iterable[tuple[str, str, int]],
    *,
    demand_class: str,
    promise_at: datetime | None,
    key: str,
    now: datetime,
    bundles: Mapping[str, str] | None = None,
) -> None:
    """Let units of (line id, SKU, quantity) wait for supply.

    Classes are served in alphabetical order, within one the earliest promise, then the longest
    wait. More of a line that waits already joins it. `bundles`: line id -> bundle; the lines of a
    bundle are granted whole, at one node, or not at all.
    """
    if not claim(session, key, "add_backorder", now).is_new:
        return
    rows = [
        {
            "order_id": order_id,
            "line_id": line_id,
            "sku": sku,
            "quantity": quantity,
            "demand_class": demand_class,
            "promise_at": promise_at,
            "since": now,
            "bundle": None if bundles is None else bundles.get(line_id),
        }
        for line_id, sku, quantity in sorted(lines)
    ]
    if rows:
        session.execute(_ADD_BACKORDER, rows)


def drop_backorder(
    session: Session,
    order_id: str,
    lines: Iterable[tuple[str, str, int]],
    *,
    key: str,
    now: datetime,
) -> list[tuple[str, int]]:
    """Let units of (line id, SKU, quantity) wait no longer; (line id, units) that still waited.

    Fewer than asked means the rest was granted meanwhile: its `supply_granted` is on the way.
    """
    first = claim(session, key, "drop_backorder", now)
    if not first.is_new:
        return _pairs(first.result)
    sql = _BACKORDERED_SQLITE if is_sqlite(session) else _BACKORDERED_LOCKING
    waiting = {row.line_id: row.quantity for row in session.execute(sql, {"order_id": order_id})}
    dropped: dict[str, int] = {}
    for line_id, _sku, quantity in lines:
        units = min(quantity, waiting.get(line_id, 0) - dropped.get(line_id, 0))
        if units > 0:
            _count_up(dropped, line_id, units)
    result = sorted(dropped.items())
    if result:
        session.execute(
            _DROP_BACKORDER,
            [{"order_id": order_id, "line_id": line, "quantity": units} for line, units in result],
        )
        session.execute(_DROPPED, {"order_id": order_id})
    finish(session, key, result)
    return result


def take_grant(
    session: Session, order_id: str, reservation_id: str
) -> list[tuple[str, str, str, int]]:
    """(node id, line id, SKU, units) a grant still holds for the order; empty for another's."""
    rows = session.execute(_GRANTED, {"order_id": order_id, "reservation_id": reservation_id})
    return [(row.node_id, row.line_id, row.sku, row.reserved) for row in rows]


def cool_off(session: Session, node_id: str, sku: str | None, until: datetime, reason: str) -> None:
    """Do not route to the node (for one SKU, or all) until then; a later end stands."""
    row = {"node_id": node_id, "sku": sku or "", "until": until, "reason": reason}
    session.execute(_COOL_OFF, row)


def cool_offs(session: Session, skus: Iterable[str], now: datetime) -> list[Exclusion]:
    """The nodes not to be asked now, for these SKUs or for all."""
    rows = session.execute(_COOL_OFFS, {"skus": ["", *sorted(set(skus))], "until": now})
    return [Exclusion(node_id=row.node_id, sku=row.sku or None, reason=row.reason) for row in rows]


def _count_up(counts: dict[Any, int], key: Any, quantity: int) -> None:
    counts[key] = counts.get(key, 0) + quantity


def _pairs(result: Any) -> list[tuple[str, int]]:
    return [(line_id, units) for line_id, units in result]


def _order(rows: Sequence[_Row]) -> str | None:
    return rows[0].order_id if rows else None


def _free(
    session: Session,
    order_id: str,
    rows: Sequence[_Row],
    wanted: dict[tuple[str, str, str], int],
    cause: Cause,
    held: Mapping[tuple[str, str, str, bool], int],
) -> None:
    """Give the wanted units back, but for those in `held`, which stay set aside."""
    by_place = {(row.reservation_id, row.line_id, row.node_id): row for row in rows}
    for place, quantity in wanted.items():
        row = by_place.get(place)
        if row is None or row.order_id != order_id:
            raise UnknownReferenceError(
                f"order '{order_id}' reserves nothing for line {place[1]} at {place[2]}"
                f" under {place[0]}"
            )
        if row.reserved < quantity:
            raise ConflictError(
                f"{row.reservation_id} reserves {row.reserved} units of line {row.line_id} at"
                f" {row.node_id}: cannot free {quantity}"
            )
    changes, back = free_units(rows, wanted)
    for (node_id, _, sku, counted), quantity in held.items():
        if counted:
            ledger.add(changes, node_id, sku, "held", quantity)
    update_rows(session, rows)
    ledger.apply(session, changes, cause)
    give_back_capacity(session, back)
    settle_plans(session, order_id, rows)
    grant_all(session, changes, replace(cause, key=f"{cause.key}/grant"))


def _fits(fulfillments: Sequence[FulfillmentOrder], by_place: dict[tuple[str, str], _Row]) -> bool:
    wanted: dict[tuple[str, str], int] = {}
    for fulfillment in fulfillments:
        for line in fulfillment.lines:
            _count_up(wanted, (line.line_id, fulfillment.node_id), line.quantity)
    return all(
        place in by_place and by_place[place].reserved >= quantity
        for place, quantity in wanted.items()
    )


def _split(rows: Sequence[_Row], line_id: str, quantity: int) -> Iterable[tuple[_Row, int]]:
    """The rows of a line with as many released units of each as together make up the quantity."""
    for row in rows:
        units = min(quantity, row.released) if row.line_id == line_id else 0
        if units > 0:
            quantity -= units
            yield row, units


def _usable(session: Session, rows: Sequence[_Row]) -> dict[tuple[str, str], int]:
    pairs = {(row.node_id, row.sku) for row in rows if row.counted}
    return {pair: place.usable for pair, place in lock_positions(session, pairs).items()}


def _take_usable(changes: Changes, left: dict[tuple[str, str], int], row: _Row, units: int) -> int:
    # A count may have found fewer than were released; what is not there cannot leave.
    there = min(units, left[row.node_id, row.sku])
    left[row.node_id, row.sku] -= there
    ledger.add(changes, row.node_id, row.sku, "usable", -there)
    return there


def _book_set_aside(
    changes: Changes, left: dict[tuple[str, str], int], row: _Row, units: int, effect: Effect
) -> None:
    ledger.add(changes, row.node_id, row.sku, "released", -units)
    there = _take_usable(changes, left, row, units)
    ledger.add(changes, row.node_id, row.sku, effect, there)


def _recount(session: Session, changes: Changes, occurred_at: datetime, cause: Cause) -> None:
    """Take the counts that had seen what occurred for what they are, now that it is known."""
    recounted = recounted_changes(session, changes, occurred_at)
    again = replace(cause, key=f"{cause.key}/recount", kind=RECOUNT)
    ledger.apply(session, recounted, again)
    grant_all(session, recounted, again)


def _book(session: Session, rows: Sequence[_Row], changes: Changes, cause: Cause) -> None:
    update_rows(session, rows)
    ledger.apply(session, changes, cause)
