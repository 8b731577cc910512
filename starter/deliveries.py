"""From a kept row to what Temporal must be told; reads the store, changes nothing there."""

import hashlib
import hmac
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from config.settings import Settings
from domain.counting import counted
from domain.errors import UnknownReferenceError
from domain.events import CarrierEvent, CarrierStatus, NodeEvent, NodeEventType
from domain.fulfillments import ON_THE_WAY
from domain.money import NoRateError, to_base
from domain.network import Connection, ConnectionClass
from domain.orders import Order
from domain.planning import group_facts
from domain.plans import TimelineEntry
from domain.policy_rollout import whose_order
from domain.process_policy import Timings
from domain.stages import Stage
from integrations.errors import QuarantineError
from integrations.vendor import Event, NewsOf, NewsOfOrder, NewsOfStock
from integrations.webhooks import translate
from starter.api.links import fulfillment_workflow_of, workflow_of
from starter.intake import Capture, Known, Reference
from store import fulfillments, network, order_pages, policies, words
from store import orders as order_store
from store.engine import reading
from store.fulfillments import FulfillmentRecord
from store.messages import Message
from workflows.messages import CURRENT_BEHAVIOR, OrderInput, PolicyPins
from workflows.search_attributes import (
    AT_RISK,
    BRAND,
    CHANNEL,
    CUSTOMER_ID,
    ORDER_STATUS,
    ORDER_TYPE,
    ORDER_VALUE,
    REGION,
)

log = logging.getLogger("doms.dispatcher")

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
MOST_ATTEMPTS_AT_A_DOCUMENT = 10
"""After so many failures a webhook or capture is put aside; doms's own signals never are."""
TRACKED = "tracked"
"""The name of a kept parcel's event that a carrier was asked for, not told by webhook."""
REPORTED = "reported"
"""The name of a kept report that a node's system was asked for."""
_LINES_SHOWN = 20


@dataclass(frozen=True)
class Start:
    """Start an order's workflow."""

    workflow_id: str
    input: OrderInput
    attributes: TypedSearchAttributes
    summary: str
    details: str


@dataclass(frozen=True)
class Signal:
    """Signal a workflow."""

    workflow_id: str
    name: str
    payload: Any


Delivery = Start | Signal


@dataclass(frozen=True)
class Done:
    """Delivered, or nothing to deliver; `notes` go to the order's timeline."""

    notes: tuple[tuple[str, TimelineEntry], ...] = ()


@dataclass(frozen=True)
class Later:
    """Not now. `pause` is the longest wait, short for what is about to become possible."""

    error: str
    pause: float = LONGEST_BACKOFF_SECONDS


@dataclass(frozen=True)
class Quarantined:
    """Never as it is; kept aside with its reason."""

    reason: str


@dataclass(frozen=True)
class Behind:
    """Not tried: an earlier message of its stream must go first."""


@dataclass(frozen=True)
class Kept:
    """Settled already, in a transaction of its own."""


Outcome = Done | Later | Quarantined | Behind | Kept


@dataclass(frozen=True)
class Prepared:
    """A row with what must be delivered, in order, and the outcome once that is done."""

    row: Message
    outgoing: bool
    deliveries: tuple[Delivery, ...]
    outcome: Outcome = Done()


def backoff(attempts: int, longest: float, jitter: random.Random) -> timedelta:
    """How long to wait after that many failures: growing up to `longest` seconds, spread."""
    seconds = min(longest, FIRST_BACKOFF_SECONDS * 2 ** min(attempts, 16))
    return timedelta(seconds=seconds * jitter.uniform(0.5, 1))


class Preparer:
    """Turns claimed rows into deliveries."""

    def __init__(self, settings: Settings, reference: Reference, capture: Capture) -> None:
        """Read network and policies through these."""
        self._settings = settings
        self._reference = reference
        self._capture = capture
        self._timings: dict[str, Timings] = {}

    def prepare_all(self, engine: Engine, rows: Sequence[tuple[Message, bool]]) -> list[Prepared]:
        """What each row (and whether it goes out) asks for, from one look at the store."""
        if not rows:
            return []
        try:
            with reading(engine) as session:
                known = self._reference.known(session)
                return [self._prepare(session, known, row, outgoing) for row, outgoing in rows]
        except SQLAlchemyError:
            # One of them may be the reason: the others must not wait for it.
            return [self._prepare_alone(engine, row, outgoing) for row, outgoing in rows]

    def _prepare_alone(self, engine: Engine, row: Message, outgoing: bool) -> Prepared:
        try:
            with reading(engine) as session:
                return self._prepare(session, self._reference.known(session), row, outgoing)
        except SQLAlchemyError as error:
            return Prepared(row, outgoing, (), Later(f"the database did not answer: {error}"))

    def _prepare(self, session: Session, known: Known, row: Message, outgoing: bool) -> Prepared:
        """What the row asks for. A row that cannot be prepared is put off or aside, never lost."""
        try:
            if row.kind == "capture":
                return Prepared(row, outgoing, (), self._recapture(row))
            return self._deliveries(session, known, row, outgoing)
        except QuarantineError as error:
            return Prepared(row, outgoing, (), Quarantined(str(error)))
        except SQLAlchemyError:
            raise
        except Exception as error:
            log.exception("message %s (%s) cannot be prepared", row.id, row.kind)
            reason = f"{type(error).__name__}: {error}"
            if row.kind in {"webhook", "capture"} and row.attempts >= MOST_ATTEMPTS_AT_A_DOCUMENT:
                return Prepared(row, outgoing, (), Quarantined(reason))
            return Prepared(row, outgoing, (), Later(reason))

    def _deliveries(self, session: Session, known: Known, row: Message, outgoing: bool) -> Prepared:
        match row.kind:
            case "start":
                return Prepared(row, outgoing, (self._start(session, known, row),))
            case "signal":
                signal = Signal(row.workflow_id or "", row.name, row.payload)
                return Prepared(row, outgoing, (signal,))
            case "webhook":
                return self._webhook(session, known, row)
            case _:
                raise QuarantineError(f"nobody delivers messages of the kind '{row.kind}'")

    def _recapture(self, row: Message) -> Outcome:
        entered_by = (row.payload or {}).get("entered_by", "")
        self._capture.retake(row.connection_id or "", row.body or b"", row.id, entered_by)
        return Kept()

    def is_closed(self, engine: Engine, workflow_id: str) -> bool:
        """Whether the store knows that the order or fulfillment of that workflow has ended."""
        kind, _, subject = workflow_id.partition("-")
        try:
            with reading(engine) as session:
                if kind == "order":
                    return order_pages.order_page(session, subject).closed
                return fulfillments.load_fulfillment(session, subject).view.closed
        except UnknownReferenceError:
            return False

    def _webhook(self, session: Session, known: Known, row: Message) -> Prepared:
        connection = known.connections.get(row.connection_id or "")
        if connection is None:
            raise QuarantineError(f"no connection '{row.connection_id}'")
        signals: list[Delivery] = []
        notes: list[tuple[str, TimelineEntry]] = []
        for event in _told(connection, row):
            if isinstance(event, NewsOfOrder | NewsOfStock):
                continue  # Its system is asked what they are.
            record = _fulfillment_of(session, event, connection.connection_id)
            node = known.nodes.get(record.order.node_id)
            speaks_for_it = node is not None and node.connection_id == connection.connection_id
            if not (speaks_for_it or connection.kind is ConnectionClass.CARRIER):
                raise QuarantineError(
                    f"'{event.fulfillment_id}' is not run by '{connection.connection_id}'"
                )
            if isinstance(event, NewsOf):
                continue  # Its system is asked what they are.
            if isinstance(event, CarrierEvent) and _is_no_news(event, record):
                notes.append((record.order.order_id, _tracking_note(event)))
            else:
                signals.append(_signal_of(event, record))
                if isinstance(event, NodeEvent):
                    notes += [(record.order.order_id, x) for x in _node_notes(event, record)]
        return Prepared(row, False, tuple(signals), Done(tuple(notes)))

    def _start(self, session: Session, known: Known, row: Message) -> Start:
        order = order_store.load_order(session, row.payload["order_id"], row.payload["version"])
        pins = _pins(session, order, row)
        groups = [group_facts(group).place for group in order.ship_groups]
        units = sum(line.quantity for line in order.lines)
        summary = (
            f"{order.order_type} {order.channel}/{order.brand}:"
            f" {counted(len(order.lines), 'line')}, {counted(units, 'unit')}"
            f" to {', '.join(dict.fromkeys(groups))}"
        )
        return Start(
            workflow_id=workflow_of(order.order_id),
            input=OrderInput(
                order_id=order.order_id,
                version=order.version,
                order_type=order.order_type,
                pins=pins,
                timings=self._timings_of(session, pins.process),
                behavior=CURRENT_BEHAVIOR,
            ),
            attributes=_attributes(
                session, order, known.network.base_currency, self._settings.hash_secret
            ),
            summary=summary[:200],
            details=_details(order),
        )

    def _timings_of(self, session: Session, version: str) -> Timings:
        """The waits of a process policy, scaled; a version never changes, so it is read once."""
        timings = self._timings.get(version)
        if timings is None:
            policy = policies.process_policy(session, version)
            timings = scaled(policy.timings, self._settings.timings_scale)
            self._timings[version] = timings
        return timings


def _pins(session: Session, order: Order, row: Message) -> PolicyPins:
    """The policies pinned at intake; for a row without them, those active when it was kept."""
    kept = row.payload.get("pins")
    if kept is not None:
        return PolicyPins.model_validate(kept)
    whose, then = whose_order(order), row.received_at
    return PolicyPins(
        routing=policies.active_version(session, "routing", whose, then),
        process=policies.active_version(session, "process", whose, then),
    )


def scaled(timings: Timings, scale: float) -> Timings:
    """Every wait that is set multiplied, for demos and tests."""
    if scale == 1:
        return timings
    waits = {name: getattr(timings, name) for name in Timings.model_fields}
    return Timings(**{name: wait * scale for name, wait in waits.items() if wait is not None})


def _attributes(
    session: Session, order: Order, base: str, secret: str | None
) -> TypedSearchAttributes:
    """Free at start, so all that is known then; nothing personal."""
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ORDER_STATUS, Stage.RECEIVED.value),
        SearchAttributePair(ORDER_TYPE, order.order_type.value),
        SearchAttributePair(CHANNEL, order.channel),
        SearchAttributePair(BRAND, order.brand),
        SearchAttributePair(REGION, order.region),
        SearchAttributePair(AT_RISK, False),
    ]
    if order.customer.customer_id and secret:
        pairs.append(SearchAttributePair(CUSTOMER_ID, hashed(order.customer.customer_id, secret)))
    try:
        value = to_base(order.total, order.currency, base, network.exchange_rates(session))
        pairs.append(SearchAttributePair(ORDER_VALUE, float(value)))
    except NoRateError:
        log.warning("order %s has no value in the base currency", order.order_id)
    return TypedSearchAttributes(pairs)


def hashed(customer_id: str, secret: str) -> str:
    """A customer as support may search for them: 16 hex digits of the id's HMAC-SHA-256.

    Ids are few enough to try them all; without the secret nobody can.
    """
    return hmac.new(secret.encode(), customer_id.encode(), hashlib.sha256).hexdigest()[:16]


def _details(order: Order) -> str:
    lines = [
        f"- {line.quantity} x {line.sku} (line {line.line_id}, group {line.ship_group})"
        for line in order.lines[:_LINES_SHOWN]
    ]
    if len(order.lines) > _LINES_SHOWN:
        lines.append(f"- and {len(order.lines) - _LINES_SHOWN} more lines")
    return "\n".join([f"**{order.total} {order.currency}**, version {order.version}", *lines])


def _told(connection: Connection, row: Message) -> tuple[Event, ...]:
    if row.name == REPORTED:
        return (NodeEvent.model_validate(row.payload),)
    if row.name == TRACKED:
        return (CarrierEvent.model_validate(row.payload),)
    return translate(connection, row.body or b"")


def _fulfillment_of(
    session: Session, event: NodeEvent | CarrierEvent | NewsOf, connection_id: str
) -> FulfillmentRecord:
    """The fulfillment it is about, by reference or tracking number. Raises QuarantineError."""
    fulfillment_id: str | None = event.fulfillment_id
    try:
        return fulfillments.load_fulfillment(session, event.fulfillment_id)
    except UnknownReferenceError:
        fulfillment_id = None
    parcel = ""
    if isinstance(event, CarrierEvent):
        parcel = f", nor one with the parcel '{event.tracking_number}'"
        fulfillment_id = fulfillments.find_by_tracking(
            session, connection_id, event.tracking_number
        )
    if fulfillment_id is None:
        raise QuarantineError(f"no fulfillment '{event.fulfillment_id}'{parcel}")
    return fulfillments.load_fulfillment(session, fulfillment_id)


def _is_no_news(event: CarrierEvent, record: FulfillmentRecord) -> bool:
    """Whether it changes no status: only the story tells of it, and no workflow is woken."""
    if event.status is CarrierStatus.PRE_TRANSIT:
        return True
    if event.status is not CarrierStatus.IN_TRANSIT:
        return False
    return any(
        package.tracking_number == event.tracking_number and package.status in ON_THE_WAY
        for package in record.view.packages
    )


_TOLD_BY_EDGE = frozenset(
    {
        NodeEventType.ACKNOWLEDGED,
        NodeEventType.PICKING,
        NodeEventType.PICKED,
        NodeEventType.PACKED,
    }
)
"""Reports that no step of the workflow writes down by itself: the story tells of them at once."""


def _node_notes(event: NodeEvent, record: FulfillmentRecord) -> Iterator[TimelineEntry]:
    """What the story tells at once: reports that no step writes down, and a node's own words."""
    texts = {}
    if event.type in _TOLD_BY_EDGE:
        texts[f"node/{event.event_id}"] = f"{record.order.node_id}: {event.type}"
    if event.reason:
        words_of = f"words/event/{event.event_id}"
        texts[words_of] = f"{record.order.node_id}, {event.type}: {event.reason}"
    for key, text in texts.items():
        yield TimelineEntry(key=key, at=event.occurred_at, kind="node", text=text)


def _tracking_note(event: CarrierEvent) -> TimelineEntry:
    return TimelineEntry(
        key=f"carrier/{event.event_id}",
        at=event.occurred_at,
        kind="tracking",
        text=f"{event.fulfillment_id}: parcel {event.tracking_number} is {event.status}",
    )


def _signal_of(event: NodeEvent | CarrierEvent, record: FulfillmentRecord) -> Signal:
    fulfillment_id = record.order.fulfillment_id
    known: dict[str, Any] = {"fulfillment_id": fulfillment_id}
    # Free words, such as who signed, may be personal, and no step needs them.
    if isinstance(event, CarrierEvent):
        known["detail"] = ""
    elif event.reason not in words.CODES:
        known["reason"] = ""
    event = event.model_copy(update=known)
    name = "node_event" if isinstance(event, NodeEvent) else "carrier_event"
    return Signal(fulfillment_workflow_of(fulfillment_id), name, event.model_dump(mode="json"))
