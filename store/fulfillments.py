"""Fulfillments as the read model shows them, their packages, and a node's work."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from domain.events import LineProgress
from domain.fulfillments import (
    FulfillmentLine,
    FulfillmentOrder,
    FulfillmentStatus,
    Package,
    PackageStatus,
)
from domain.plans import FulfillmentView
from domain.stages import Attention
from domain.values import Model, UtcTime
from store import order_events
from store.columns import changed, query, statement
from store.shown import show_order

_ADD = statement(
    "INSERT INTO fulfillments (fulfillment_id, order_id, plan_version, node_id, ship_group,"
    " method, service_id, document, revision, status, awaits, closed, created_at, updated_at)"
    " VALUES (:fulfillment_id, :order_id, :plan_version, :node_id, :ship_group, :method,"
    " :service_id, :document, -1, :status, '', :closed, :created_at, :updated_at)"
    " ON CONFLICT DO NOTHING",
    "fulfillments",
)
_ADD_LINE = statement(
    "INSERT INTO fulfillment_lines (fulfillment_id, line_id, sku, quantity, picked, shipped,"
    " delivered, cancelled, returned_to_order)"
    " VALUES (:fulfillment_id, :line_id, :sku, :quantity, 0, 0, 0, 0, 0)",
    "fulfillment_lines",
)
_RECORD = statement(
    "UPDATE fulfillments SET revision = :revision, status = :status, attention = :attention,"
    " awaits = :awaits, closed = :closed, updated_at = :updated_at"
    " WHERE fulfillment_id = :fulfillment_id AND revision < :revision",
    "fulfillments",
)
_RECORD_LINE = statement(
    "UPDATE fulfillment_lines SET picked = :picked, shipped = :shipped, delivered = :delivered,"
    " cancelled = :cancelled, returned_to_order = :returned_to_order,"
    " picked_at = CASE WHEN picked_at IS NULL AND :picked > 0 THEN :picked_at ELSE picked_at END"
    " WHERE fulfillment_id = :fulfillment_id AND line_id = :line_id",
    "fulfillment_lines",
)
# A view may know less than the label activity stored: a package never loses its label.
_PUT_PACKAGE = statement(
    "INSERT INTO packages (fulfillment_id, package_id, position, tracking_number, carrier,"
    " service, status, document) VALUES (:fulfillment_id, :package_id,"
    " :position, :tracking_number, :carrier, :service, :status,"
    " :document)"
    " ON CONFLICT (fulfillment_id, package_id) DO UPDATE SET"
    " position = excluded.position, status = excluded.status,"
    " tracking_number = COALESCE(excluded.tracking_number, packages.tracking_number),"
    " carrier = COALESCE(excluded.carrier, packages.carrier),"
    " service = COALESCE(excluded.service, packages.service),"
    " document = CASE WHEN packages.tracking_number IS NULL"
    " OR excluded.tracking_number IS NOT NULL THEN excluded.document ELSE packages.document END",
    "packages",
)
_EXISTS = query(
    "SELECT fulfillment_id FROM fulfillments WHERE fulfillment_id = :fulfillment_id",
    "fulfillments",
)
_FULFILLMENTS = (
    "SELECT fulfillment_id, order_id, document, revision, status, attention, awaits, closed,"
    " created_at, updated_at FROM fulfillments WHERE "
)
_ONE = query(f"{_FULFILLMENTS} fulfillment_id = :fulfillment_id", "fulfillments")
_OF_ORDER = query(
    f"{_FULFILLMENTS} order_id = :order_id ORDER BY created_at, fulfillment_id", "fulfillments"
)
_OF_NODE = query(
    f"{_FULFILLMENTS} node_id = :node_id AND closed = :closed ORDER BY created_at, fulfillment_id",
    "fulfillments",
)
_LINES = query(
    "SELECT l.fulfillment_id, l.line_id, l.sku, l.quantity, l.picked, l.shipped, l.delivered,"
    " l.cancelled, l.returned_to_order FROM fulfillment_lines l"
    " WHERE l.fulfillment_id IN :fulfillment_ids ORDER BY l.fulfillment_id, l.line_id",
    "fulfillment_lines",
    lists=["fulfillment_ids"],
)
_PACKAGES = query(
    "SELECT fulfillment_id, status, document FROM packages"
    " WHERE fulfillment_id IN :fulfillment_ids ORDER BY fulfillment_id, position, package_id",
    "packages",
    lists=["fulfillment_ids"],
)
_SAVE_LABEL = statement(
    "INSERT INTO labels (fulfillment_id, key, package_id, tracking_number, carrier, service,"
    " connection_id, document) VALUES (:fulfillment_id, :key, :package_id, :tracking_number,"
    " :carrier, :service, :connection_id, :document) ON CONFLICT DO NOTHING",
    "labels",
)
_LABEL = query(
    "SELECT document FROM labels WHERE fulfillment_id = :fulfillment_id AND key = :key", "labels"
)
_VOID = statement(
    "UPDATE packages SET status = 'voided', tracking_number = NULL, document = :document"
    " WHERE fulfillment_id = :fulfillment_id AND package_id = :package_id",
    "packages",
)
_LABELS_BOUGHT = query(
    "SELECT count(*) AS bought FROM labels WHERE fulfillment_id = :fulfillment_id"
    " AND package_id = :package_id",
    "labels",
)
_POSITION = query(
    "SELECT count(*) AS position FROM packages WHERE fulfillment_id = :fulfillment_id"
    " AND package_id <> :package_id",
    "packages",
)
# Nobody moves another's parcels: the connection must be the one the label was bought from, or the
# node's own (it ships itself), or run a service of the parcel's carrier.
_TRACKED = query(
    "SELECT f.fulfillment_id FROM ("
    "SELECT fulfillment_id, carrier, service, NULL AS connection_id FROM packages"
    " WHERE tracking_number = :tracking_number UNION"
    " SELECT fulfillment_id, carrier, service, connection_id FROM labels"
    " WHERE tracking_number = :tracking_number) AS p"
    " JOIN fulfillments f ON f.fulfillment_id = p.fulfillment_id"
    " JOIN nodes n ON n.node_id = f.node_id"
    " WHERE p.connection_id = :connection_id OR n.connection_id = :connection_id"
    " OR EXISTS (SELECT 1 FROM services s WHERE s.connection_id = :connection_id"
    " AND (s.carrier = p.carrier OR s.service_id = p.service OR s.service_id = f.service_id))"
    " ORDER BY f.created_at DESC, f.fulfillment_id LIMIT 1",
    "packages",
    "labels",
    "services",
    "fulfillments",
)

CANCEL_WAITS = (
    "the node's answer to the cancel",
    "a person to say what the node did",
    "does not say whether it cancelled",
)
"""What a fulfillment says it waits for while a cancel is not answered."""


class FulfillmentRecord(Model):
    """What the node was asked, and where it stands."""

    order: FulfillmentOrder
    view: FulfillmentView
    created_at: UtcTime
    updated_at: UtcTime


class FulfillmentPage(Model):
    """A fulfillment as an order's page shows it."""

    fulfillment_id: str
    node_id: str
    ship_group: str
    method: str
    service_id: str | None = None
    status: FulfillmentStatus
    asked: tuple[FulfillmentLine, ...]
    lines: tuple[LineProgress, ...] = ()
    packages: tuple[Package, ...] = ()
    attention: Attention | None = None
    awaits: str = ""
    closed: bool = False
    ship_by: UtcTime | None = None
    deliver_by: UtcTime | None = None
    created_at: UtcTime
    updated_at: UtcTime


class WorkLine(Model):
    """Units of one line a node's people pick."""

    line_id: str
    sku: str
    quantity: int
    picked: int = 0
    given_back: int = 0
    """Units that are not this node's any more: short, rejected or cancelled."""


class WorkTask(Model):
    """An open fulfillment as a node's people see it, without the customer's name."""

    fulfillment_id: str
    order_id: str
    node_id: str
    status: FulfillmentStatus
    method: str
    service_id: str | None = None
    ship_by: UtcTime | None = None
    lines: tuple[WorkLine, ...]
    packages: tuple[Package, ...] = ()
    cancel_asked: bool = False
    """Whether it waits for the node to say if it could still cancel."""
    awaits: str = ""
    since: UtcTime


def add_fulfillments(
    session: Session,
    plan_version: int,
    fulfillments: Sequence[FulfillmentOrder],
    now: datetime,
) -> None:
    """Make the rows of new fulfillments. Raises ConflictError when one of these ids exists."""
    for fulfillment in fulfillments:
        row = {
            "fulfillment_id": fulfillment.fulfillment_id,
            "order_id": fulfillment.order_id,
            "plan_version": plan_version,
            "node_id": fulfillment.node_id,
            "ship_group": fulfillment.ship_group,
            "method": fulfillment.method,
            "service_id": fulfillment.service_id,
            "document": fulfillment.model_dump(mode="json"),
            "status": FulfillmentStatus.CREATED.value,
            "closed": False,
            "created_at": now,
            "updated_at": now,
        }
        if not changed(session, _ADD, row):
            raise ConflictError(f"fulfillment '{fulfillment.fulfillment_id}' exists already")
    lines = [
        {
            "fulfillment_id": fulfillment.fulfillment_id,
            "line_id": line.line_id,
            "sku": line.sku,
            "quantity": line.quantity,
        }
        for fulfillment in fulfillments
        for line in fulfillment.lines
    ]
    if lines:
        session.execute(_ADD_LINE, lines)


def record_fulfillment(session: Session, view: FulfillmentView, now: datetime) -> bool:
    """Write the view if it is newer than what is stored; whether it was.

    Raises UnknownReferenceError when there is no such fulfillment.
    """
    before = order_events.fulfillment_before(session, view.fulfillment_id)
    attention = None if view.attention is None else view.attention.model_dump(mode="json")
    row = {
        "fulfillment_id": view.fulfillment_id,
        "revision": view.revision,
        "status": view.status.value,
        "attention": attention,
        "awaits": view.awaits,
        "closed": view.closed,
        "updated_at": now,
    }
    if not changed(session, _RECORD, row):
        _must_exist(session, view.fulfillment_id)
        return False
    lines = [
        {**line.model_dump(), "fulfillment_id": view.fulfillment_id, "picked_at": now}
        for line in view.lines
    ]
    if lines:
        session.execute(_RECORD_LINE, lines)
    packages_rows = [
        _package_row(view.fulfillment_id, position, package)
        for position, package in enumerate(view.packages)
    ]
    if packages_rows:
        session.execute(_PUT_PACKAGE, packages_rows)
    if view.revision > 1 or attention is not None:  # the first one says only that it was handed on
        show_order(session, view.order_id)
    if before is not None:
        stored = partial(packages, session, view.fulfillment_id)
        order_events.tell_fulfillment(session, before, view, stored, now)
    return True


def load_fulfillment(session: Session, fulfillment_id: str) -> FulfillmentRecord:
    """What was asked and where it stands. Raises UnknownReferenceError."""
    row = session.execute(_ONE, {"fulfillment_id": fulfillment_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no fulfillment '{fulfillment_id}'")
    return _records(session, [row])[0]


def fulfillments_of(session: Session, order_id: str) -> list[FulfillmentPage]:
    """All fulfillments of an order, oldest first."""
    rows = session.execute(_OF_ORDER, {"order_id": order_id}).all()
    return [_page(record) for record in _records(session, rows)]


def node_work(session: Session, node_id: str) -> list[WorkTask]:
    """The open fulfillments of a node, oldest first, without the customer's name."""
    rows = session.execute(_OF_NODE, {"node_id": node_id, "closed": False}).all()
    return [_task(record) for record in _records(session, rows)]


def packages(session: Session, fulfillment_id: str) -> tuple[Package, ...]:
    """The packages of a fulfillment with their labels."""
    return _packages(session, [fulfillment_id]).get(fulfillment_id, ())


def find_by_tracking(session: Session, connection_id: str, tracking_number: str) -> str | None:
    """The fulfillment a parcel belongs to, if that connection may report on it; newest first."""
    row = session.execute(
        _TRACKED, {"connection_id": connection_id, "tracking_number": tracking_number}
    ).one_or_none()
    return None if row is None else row.fulfillment_id


def save_label(
    session: Session,
    fulfillment_id: str,
    package: Package,
    key: str,
    connection_id: str | None = None,
) -> Package:
    """Keep a package with the label bought under that key; what is stored afterwards.

    Without a tracking number only the package is kept. A label stored under the key before stays
    and is the answer; another key is another label for the package (a re-shipment), and parcels
    with the old one are still known. Raises UnknownReferenceError.
    """
    _must_exist(session, fulfillment_id)
    if package.tracking_number is not None:
        row = {
            **_package_row(fulfillment_id, 0, package),
            "key": key,
            "connection_id": connection_id,
        }
        if not changed(session, _SAVE_LABEL, row):
            label = session.execute(_LABEL, {"fulfillment_id": fulfillment_id, "key": key}).one()
            return Package.model_validate(label.document)
    place = {"fulfillment_id": fulfillment_id, "package_id": package.package_id}
    position = session.execute(_POSITION, place).scalar_one()
    session.execute(_PUT_PACKAGE, _package_row(fulfillment_id, position, package))
    return package


def void_label(session: Session, fulfillment_id: str, package_id: str, shipment_id: str) -> None:
    """Show the package as voided, unless it has another label by now: the next is a new one."""
    for package in packages(session, fulfillment_id):
        if package.package_id == package_id and package.shipment_id == shipment_id:
            voided = package.model_copy(update={"status": PackageStatus.VOIDED})
            row = {"document": voided.model_dump(mode="json")}
            place = {"fulfillment_id": fulfillment_id, "package_id": package_id}
            session.execute(_VOID, {**place, **row})


def labels_bought(session: Session, fulfillment_id: str, package_id: str) -> int:
    """How many labels packages of that id had: more than one when earlier ones were voided."""
    place = {"fulfillment_id": fulfillment_id, "package_id": package_id}
    return int(session.execute(_LABELS_BOUGHT, place).scalar_one())


def _must_exist(session: Session, fulfillment_id: str) -> None:
    if session.execute(_EXISTS, {"fulfillment_id": fulfillment_id}).one_or_none() is None:
        raise UnknownReferenceError(f"no fulfillment '{fulfillment_id}'")


def _package_row(fulfillment_id: str, position: int, package: Package) -> dict[str, Any]:
    return {
        "fulfillment_id": fulfillment_id,
        "package_id": package.package_id,
        "position": position,
        "tracking_number": package.tracking_number,
        "carrier": package.carrier,
        "service": package.service,
        "status": package.status.value,
        "document": package.model_dump(mode="json"),
    }


def _package(document: dict[str, Any], status: str) -> Package:
    return Package.model_validate({**document, "status": status})


def _packages(session: Session, fulfillment_ids: Sequence[str]) -> dict[str, tuple[Package, ...]]:
    found: dict[str, tuple[Package, ...]] = {}
    for row in session.execute(_PACKAGES, {"fulfillment_ids": list(fulfillment_ids)}):
        package = _package(row.document, row.status)
        found[row.fulfillment_id] = (*found.get(row.fulfillment_id, ()), package)
    return found


def _progress(session: Session, fulfillment_ids: Sequence[str]) -> dict[str, list[LineProgress]]:
    found: dict[str, list[LineProgress]] = {}
    for row in session.execute(_LINES, {"fulfillment_ids": list(fulfillment_ids)}):
        line = LineProgress(
            line_id=row.line_id,
            picked=row.picked,
            shipped=row.shipped,
            delivered=row.delivered,
            cancelled=row.cancelled,
            returned_to_order=row.returned_to_order,
        )
        found.setdefault(row.fulfillment_id, []).append(line)
    return found


def _records(session: Session, rows: Iterable[Any]) -> list[FulfillmentRecord]:
    rows = list(rows)
    if not rows:
        return []
    ids = [row.fulfillment_id for row in rows]
    lines, boxes = _progress(session, ids), _packages(session, ids)
    return [
        FulfillmentRecord(
            order=FulfillmentOrder.model_validate(row.document),
            view=FulfillmentView(
                fulfillment_id=row.fulfillment_id,
                order_id=row.order_id,
                revision=max(row.revision, 0),
                status=row.status,
                lines=tuple(lines.get(row.fulfillment_id, ())),
                packages=boxes.get(row.fulfillment_id, ()),
                attention=row.attention,
                awaits=row.awaits,
                closed=row.closed,
            ),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def _page(record: FulfillmentRecord) -> FulfillmentPage:
    order, view = record.order, record.view
    return FulfillmentPage(
        fulfillment_id=order.fulfillment_id,
        node_id=order.node_id,
        ship_group=order.ship_group,
        method=order.method,
        service_id=order.service_id,
        status=view.status,
        asked=order.lines,
        lines=view.lines,
        packages=view.packages,
        attention=view.attention,
        awaits=view.awaits,
        closed=view.closed,
        ship_by=order.ship_by,
        deliver_by=order.deliver_by,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _task(record: FulfillmentRecord) -> WorkTask:
    order, view = record.order, record.view
    done = {line.line_id: line for line in view.lines}
    return WorkTask(
        fulfillment_id=order.fulfillment_id,
        order_id=order.order_id,
        node_id=order.node_id,
        status=view.status,
        method=order.method,
        service_id=order.service_id,
        ship_by=order.ship_by,
        lines=tuple(
            WorkLine(
                line_id=line.line_id,
                sku=line.sku,
                quantity=line.quantity,
                picked=done[line.line_id].picked if line.line_id in done else 0,
                given_back=_given_back(done.get(line.line_id)),
            )
            for line in order.lines
        ),
        packages=tuple(x for x in view.packages if x.status is not PackageStatus.VOIDED),
        cancel_asked=any(wait in view.awaits for wait in CANCEL_WAITS),
        awaits=view.awaits,
        since=record.created_at,
    )


def _given_back(line: LineProgress | None) -> int:
    return 0 if line is None else line.cancelled + line.returned_to_order
