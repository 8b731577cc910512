"""The rows of reservations while their units move, and the plans they carry out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from domain.plans import Plan
from store import ledger
from store.columns import changed, query, statement
from store.driver import Sql, assign, fetch, given, write
from store.ledger import Changes

_COLUMNS = (
    "t.reservation_id, t.line_id, t.node_id, t.sku, t.order_id, t.plan_version, t.fulfillment_id,"
    " t.work_date, t.quantity, t.reserved, t.released, t.consumed, t.freed, t.granted, t.counted"
)


def _rows_by(column: str) -> Sql:
    return given(
        f"SELECT {_COLUMNS} FROM {{given}} CROSS JOIN reservations t"  # noqa: S608 (own names)
        f" WHERE t.{column} = w.{column} ORDER BY t.reservation_id, t.line_id, t.node_id",
        {column: "text"},
        locking=" FOR UPDATE OF t",
    )


_OF_RESERVATIONS = _rows_by("reservation_id")
_OF_FULFILLMENT = _rows_by("fulfillment_id")
_CARRIED_OUT = query(
    "SELECT DISTINCT reservation_id FROM reservations WHERE fulfillment_id = :fulfillment_id",
    "reservations",
)
_UPDATE = assign(
    "reservations",
    {"reservation_id": "text", "line_id": "text", "node_id": "text"},
    {
        "reserved": "bigint",
        "released": "bigint",
        "consumed": "bigint",
        "freed": "bigint",
        "fulfillment_id": "text",
    },
)
_SAVE_PLAN = statement(
    "INSERT INTO plans (order_id, plan_version, state, document, saved_at)"
    " VALUES (:order_id, :plan_version, :state, :document, :saved_at)"
    " ON CONFLICT (order_id, plan_version) DO UPDATE SET state = excluded.state,"
    " document = excluded.document, saved_at = excluded.saved_at"
    " WHERE plans.state = 'planned'",
    "plans",
)
_PLAN = query(
    "SELECT state, document FROM plans WHERE order_id = :order_id AND plan_version = :plan_version",
    "plans",
)
_PLAN_STATE = assign("plans", {"order_id": "text", "plan_version": "bigint"}, {"state": "text"})


@dataclass
class ReservationRow:
    """A reservation row while its units move."""

    reservation_id: str
    line_id: str
    node_id: str
    sku: str
    order_id: str
    plan_version: int | None
    fulfillment_id: str | None
    work_date: str | None
    quantity: int
    reserved: int
    released: int
    consumed: int
    freed: int
    granted: bool
    counted: bool

    @property
    def bucket(self) -> str:
        """The stock bucket its reserved units stand in."""
        return "claimed" if self.granted else "reserved"

    @property
    def live(self) -> int:
        """Units not freed."""
        return self.quantity - self.freed


def locked_reservations(session: Session, reservation_ids: Iterable[str]) -> list[ReservationRow]:
    """The rows of those reservations, kept from changing until the transaction ends."""
    asked = [{"reservation_id": found} for found in sorted(set(reservation_ids))]
    [rows] = fetch(session, (_OF_RESERVATIONS, asked))
    return [ReservationRow(*row) for row in rows]


def locked_fulfillment(session: Session, fulfillment_id: str) -> list[ReservationRow]:
    """The rows of a fulfillment, kept from changing until the transaction ends."""
    [rows] = fetch(session, (_OF_FULFILLMENT, [{"fulfillment_id": fulfillment_id}]))
    return [ReservationRow(*row) for row in rows]


def locked_beside(session: Session, fulfillment_id: str) -> list[ReservationRow]:
    """All rows of the reservations that a fulfillment carries out, its own and others', kept so."""
    found = session.execute(_CARRIED_OUT, {"fulfillment_id": fulfillment_id})
    return locked_reservations(session, found.scalars())


def update_rows(session: Session, rows: Sequence[ReservationRow]) -> None:
    """Write where the rows' units are now."""
    write(session, (_UPDATE, [vars(row) for row in rows]))


def free_units(
    rows: Sequence[ReservationRow], units: Mapping[tuple[str, str, str], int]
) -> tuple[Changes, dict[tuple[str, str], tuple[int, int]]]:
    """Free reserved units by (reservation, line, node) in the rows; what that changes.

    Stock by position, and (units, orders) of capacity by (node, date) to give back.
    """
    by_place = {(row.reservation_id, row.line_id, row.node_id): row for row in rows}
    changes: Changes = {}
    back: dict[tuple[str, str], tuple[int, int]] = {}
    for place, quantity in units.items():
        row = by_place[place]
        row.reserved -= quantity
        row.freed += quantity
        if row.counted:
            ledger.add(changes, row.node_id, row.sku, row.bucket, -quantity)
        if row.work_date is not None:
            add_back(back, rows, row, quantity)
    return changes, back


def add_back(
    back: dict[tuple[str, str], tuple[int, int]],
    rows: Sequence[ReservationRow],
    row: ReservationRow,
    quantity: int,
) -> None:
    """Add freed units of a row to the capacity to give back.

    An order counts once per node and date: it is given back with the last of its units there.
    `rows` are all of the row's reservation, also those of other ship groups' fulfillments.
    """
    date = str(row.work_date)
    is_last = not any(
        other.live
        for other in rows
        if (other.reservation_id, other.node_id, other.work_date)
        == (row.reservation_id, row.node_id, row.work_date)
    )
    units, orders = back.get((row.node_id, date), (0, 0))
    back[row.node_id, date] = (units + quantity, orders + is_last)


def settle_plans(session: Session, order_id: str, rows: Sequence[ReservationRow]) -> None:
    """Call plans `released` or `freed` once nothing of their rows is reserved any more."""
    states = []
    for plan_version in sorted({row.plan_version for row in rows if row.plan_version is not None}):
        mine = [row for row in rows if row.plan_version == plan_version]
        if not any(row.reserved for row in mine):
            state = "released" if any(row.released or row.consumed for row in mine) else "freed"
            plan = {"order_id": order_id, "plan_version": plan_version, "state": state}
            states.append(plan)
    write(session, (_PLAN_STATE, states))


def save_plan(session: Session, order_id: str, plan: Plan, *, now: datetime) -> None:
    """Keep a plan that takes no stock yet. Raises ConflictError when it was reserved already."""
    row = {
        "order_id": order_id,
        "plan_version": plan.plan_version,
        "state": "planned",
        "document": plan.model_dump(mode="json"),
        "saved_at": now,
    }
    if not changed(session, _SAVE_PLAN, row):
        raise reserved_before(order_id, plan.plan_version)


def reserved_before(order_id: str, plan_version: int) -> ConflictError:
    """The error for a plan version that was reserved already."""
    return ConflictError(f"order '{order_id}' has reserved plan {plan_version} before")


def load_plan(session: Session, order_id: str, plan_version: int) -> Plan:
    """A plan of the order. Raises UnknownReferenceError."""
    return Plan.model_validate(_plan_row(session, order_id, plan_version).document)


def reserved_plan(session: Session, order_id: str, plan_version: int) -> Plan | None:
    """The plan of that version once it was reserved, whatever became of it; None before."""
    row = session.execute(_PLAN, {"order_id": order_id, "plan_version": plan_version}).one_or_none()
    if row is None or row.state == "planned":
        return None
    return Plan.model_validate(row.document)


def plan_state(session: Session, order_id: str, plan_version: int) -> str:
    """`planned`, `reserved`, `released` or `freed`. Raises UnknownReferenceError."""
    return str(_plan_row(session, order_id, plan_version).state)


def plan_was_freed(session: Session, order_id: str, plan_version: int) -> bool:
    """Whether all that was reserved under that plan was given back."""
    return plan_state(session, order_id, plan_version) == "freed"


def _plan_row(session: Session, order_id: str, plan_version: int) -> Any:
    row = session.execute(_PLAN, {"order_id": order_id, "plan_version": plan_version}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"order '{order_id}' has no plan {plan_version}")
    return row
