"""Plans that a brokering run put in the place of others, and who still means the ones before.

The order's workflow is told of a move a little later. What it asks of the plan it knows meanwhile
is done with the plan that holds the units now.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy.orm import Session

from domain.plans import MovedPlan, PlanLine, PlannedFulfillment
from store.columns import query, statement
from store.reservation_rows import ReservationRow, load_plan, locked_reservations
from store.reservations import Units

_MOVED = query(
    "SELECT plan_version, moved_to FROM plans"
    " WHERE order_id = :order_id AND moved_to IS NOT NULL ORDER BY plan_version",
    "plans",
)
_MARK = statement(
    "UPDATE plans SET moved_to = :moved_to"
    " WHERE order_id = :order_id AND plan_version = :plan_version",
    "plans",
)
_HELD = query(
    "SELECT node_id, line_id, reserved FROM reservations"
    " WHERE reservation_id = :reservation_id AND reserved > 0 ORDER BY node_id, line_id",
    "reservations",
)


def mark(session: Session, order_id: str, plan_version: int, moved_to: int) -> None:
    """Note which plan holds now what that plan held."""
    row = {"order_id": order_id, "plan_version": plan_version, "moved_to": moved_to}
    session.execute(_MARK, row)


def moved_to(session: Session, order_id: str, plan_version: int) -> int:
    """The plan that holds now what that one held: itself, where it was not moved."""
    return _last(_moves(session, order_id), plan_version)


def current_plan(session: Session, order_id: str, plan_version: int) -> MovedPlan:
    """The plan that holds now what that one held, with the units that it still reserves.

    Raises UnknownReferenceError.
    """
    moves = _moves(session, order_id)
    version = _last(moves, plan_version)
    plan = load_plan(session, order_id, version)
    held = {
        (row.node_id, row.line_id): row.reserved
        for row in session.execute(_HELD, {"reservation_id": _reservation(order_id, version)})
    }
    return MovedPlan(
        **{**plan.model_dump(), "fulfillments": still_held(plan.fulfillments, held)},
        replaces=tuple(x for x in moves if _last(moves, x) == version),
    )


def still_held(
    planned: Iterable[PlannedFulfillment], held: dict[tuple[str, str], int]
) -> tuple[PlannedFulfillment, ...]:
    """What is planned, with no more units than (node id, line id) still holds."""
    left, found = Counter(held), []
    for fulfillment in planned:
        lines = []
        for line in fulfillment.lines:
            place = (fulfillment.node_id, line.line_id)
            units = min(line.quantity, left[place])
            left[place] -= units
            if units:
                lines.append(PlanLine(line_id=line.line_id, sku=line.sku, quantity=units))
        if lines:
            found.append(fulfillment.model_copy(update={"lines": tuple(lines)}))
    return tuple(found)


def followed(session: Session, order_id: str, units: Iterable[Units]) -> list[Units]:
    """Those units of reservations where a run has put them since; the rows stay locked.

    A unit is of a line: at which node it is reserved may differ from what the asker knows.
    """
    locked: dict[str, list[ReservationRow]] = {}
    found: list[Units] = []
    for source, node_id, line_id, quantity in units:
        reservation = _named(order_id, source)
        version = _version(order_id, reservation)
        last = reservation if version is None else _locked_last(session, order_id, version, locked)
        if last == reservation:
            found.append((reservation, node_id, line_id, quantity))
            continue
        found += _where_now(locked[last], last, node_id, line_id, quantity)
    return found


def locked_last(session: Session, order_id: str, plan_version: int) -> int:
    """The plan that holds now what that one held; its reservation's rows stay locked."""
    found = _version(order_id, _locked_last(session, order_id, plan_version, {}))
    return plan_version if found is None else found


def unknown(
    session: Session, order_id: str, forgotten: Iterable[str], known: Collection[int]
) -> tuple[str, ...]:
    """Of reservations the order seems to have forgotten those that no plan it knows became."""
    moves = _moves(session, order_id)
    kept = {_reservation(order_id, _last(moves, version)) for version in known}
    return tuple(x for x in forgotten if x not in kept)


def _moves(session: Session, order_id: str) -> dict[int, int]:
    rows = session.execute(_MOVED, {"order_id": order_id})
    return {row.plan_version: row.moved_to for row in rows}


def _last(moves: dict[int, int], version: int) -> int:
    while version in moves:
        version = moves[version]
    return version


def _reservation(order_id: str, version: int) -> str:
    return f"{order_id}-r{version}"


def _named(order_id: str, source: int | str) -> str:
    return _reservation(order_id, source) if isinstance(source, int) else source


def _version(order_id: str, reservation: str) -> int | None:
    """The plan version of a plan's reservation; None for a grant's."""
    number = reservation.removeprefix(f"{order_id}-r")
    return int(number) if number != reservation and number.isdigit() else None


def _locked_last(
    session: Session, order_id: str, version: int, locked: dict[str, list[ReservationRow]]
) -> str:
    """The reservation that holds it now, locked.

    It is locked before it is asked whether it was moved: a move waits for the lock, or is seen.
    """
    while True:
        reservation = _reservation(order_id, version)
        if reservation not in locked:
            locked[reservation] = locked_reservations(session, [reservation])
        following = _moves(session, order_id).get(version)
        if following is None:
            return reservation
        version = following


def _where_now(
    rows: list[ReservationRow], reservation: str, node_id: str, line_id: str, quantity: int
) -> list[Units]:
    """So many units of the line, first those at that node; what is not there, at that node too."""
    found: list[Units] = []
    mine = sorted(
        (row for row in rows if row.line_id == line_id),
        key=lambda row: (row.node_id != node_id, row.node_id),
    )
    for row in mine:
        units = min(quantity, row.reserved)
        if units:
            row.reserved -= units
            quantity -= units
            found.append((reservation, row.node_id, line_id, units))
    return [*found, (reservation, node_id, line_id, quantity)] if quantity else found
