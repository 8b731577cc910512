"""From a document as sent to an accepted order: checked, in base units, pinned to policies, kept.

Units of measure: a line's quantity becomes base units and `unit_price` the price of one base unit,
while discount, tax and the line's total stay what they were. Where the price of a case does not
divide into whole minor units, the unit price is rounded up and the excess goes to the line's
discount (2 cases of 12 at 25.00 are 24 at 2.09 less 0.16), so the total never changes. What was
ordered stays readable in the line's attribute `as_ordered`.

Kits: a kit's line becomes lines of its components (`domain.kits`), its money on the first of them.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from domain import kits
from domain.catalogue import Product, UnknownUnitError, to_base_units
from domain.errors import RetryableError, UnknownReferenceError
from domain.money import minor_units
from domain.network import Connection, ConnectionClass, Network, Node
from domain.orders import AS_ORDERED, MAX_LINES, Method, Order, OrderLine
from domain.policy_rollout import whose_order
from domain.values import MAX_QUANTITY
from integrations import capture as vendors
from integrations.errors import QuarantineError
from starter.api.problems import FieldError, InvalidDocumentError, field_errors
from starter.lost_promises import is_lost, tell_if_lost
from store import decisions, holds, inbox, order_intake, policies
from store import network as network_store
from store.engine import reading, transaction
from store.order_intake import Outcome

MOST_REASON = 1_000


def parse_json(raw: bytes) -> Any:
    """The JSON value. Raises InvalidDocumentError that says where the text stops being JSON.

    NaN, infinite numbers and NUL characters are refused: no database column keeps them.
    """
    try:
        document = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        message = f"malformed JSON: {error}"
        raise InvalidDocumentError([FieldError("", message)], message) from None
    refuse_unstorable(document)
    return document


def refuse_unstorable(document: Any) -> None:
    """Raise InvalidDocumentError for NUL characters and numbers that are not finite."""
    bad = list(_unstorable(document, ""))
    if bad:
        raise InvalidDocumentError(bad)


def _unstorable(value: Any, path: str) -> Iterator[FieldError]:
    if isinstance(value, str):
        if "\x00" in value:
            yield FieldError(path, "holds a NUL character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield FieldError(path, "is no finite number")
    elif isinstance(value, dict):
        for name, item in value.items():
            if "\x00" in name:
                yield FieldError(path, "has a field whose name holds a NUL character")
            yield from _unstorable(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _unstorable(item, f"{path}.{position}" if path else str(position))


def parse_order(raw: bytes) -> Order:
    """The order document, checked by itself. Raises InvalidDocumentError with each field's path."""
    document = parse_json(raw)
    return check_order(document)


def check_order(document: Any) -> Order:
    """The order in a parsed document. Raises InvalidDocumentError with each field's path."""
    if not isinstance(document, dict):
        raise InvalidDocumentError([FieldError("", "an order is a JSON object")])
    try:
        return Order.model_validate(document)
    except ValidationError as error:
        raise InvalidDocumentError(field_errors(error)) from None


class Known:
    """Network and catalogue as of one version. Products are read when first named."""

    _MOST_PRODUCTS = 100_000

    def __init__(self, version: str, network: Network) -> None:
        """Know that network, and no product yet."""
        self.version = version
        self.network = network
        self.nodes = {node.node_id: node for node in network.nodes}
        self.connections = {x.connection_id: x for x in network.connections}
        self._products: dict[str, Product] = {}

    def products(self, session: Session, skus: Iterable[str]) -> dict[str, Product]:
        """The products of those SKUs that exist."""
        cached = self._products
        found = {sku: cached[sku] for sku in set(skus) if sku in cached}
        missing = set(skus) - found.keys()
        if missing:
            read = network_store.products(session, missing)
            found.update(read)
            # A new dictionary each time: readers go on with the one they began with.
            self._products = read if len(cached) > self._MOST_PRODUCTS else {**cached, **read}
        return found

    def with_components(self, session: Session, skus: Iterable[str]) -> dict[str, Product]:
        """Like `products`, and those that the kits among them are made of."""
        found: dict[str, Product] = {}
        asked: set[str] = set()
        wanted = set(skus)
        while wanted:
            read = self.products(session, wanted)
            asked |= wanted
            found |= read
            wanted = {part.sku for x in read.values() for part in x.components} - asked
        return found


class Reference:
    """Network and catalogue as last read, shared by the threads of a process."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known = Known("", Network())

    def known(self, session: Session) -> Known:
        """What the database has now; read again only when its version changed."""
        version = network_store.network_version(session)
        known = self._known
        if version != known.version:
            known = Known(version, network_store.load_network(session))
            self._known = known
        return known

    def connection(self, engine: Engine, connection_id: str) -> Connection | None:
        """A connection as last read; one not known yet is looked for in the database."""
        found = self._known.connections.get(connection_id)
        if found is None:
            with reading(engine) as session:
                found = self.known(session).connections.get(connection_id)
        return found


def normalise(order: Order, products: Mapping[str, Product], nodes: Mapping[str, Node]) -> Order:
    """The order in base units without kits, its SKUs, units and nodes known.

    Raises InvalidDocumentError naming every line and group that refers to something unknown.
    """
    errors = [*_node_errors(order, nodes), *_line_id_errors(order, products)]
    places = minor_units(order.currency)
    lines: list[OrderLine] = []
    for position, line in enumerate(order.lines):
        product = products.get(line.sku)
        if product is None:
            errors.append(FieldError(f"lines.{position}.sku", f"no product '{line.sku}'"))
            continue
        try:
            lines += _normal_lines(line, products, places)
        except UnknownUnitError as error:
            errors.append(FieldError(f"lines.{position}.ordered_uom", str(error)))
        except kits.KitError as error:
            errors.append(FieldError(f"lines.{position}", f"the kit '{line.sku}': {error}"))
        except ValueError as error:
            errors.append(FieldError(f"lines.{position}.quantity", str(error)))
    if len(lines) > MAX_LINES:
        message = f"{len(lines)} with the components of kits: at most {MAX_LINES}"
        errors.append(FieldError("lines", message))
    if errors:
        raise InvalidDocumentError(errors)
    return order.model_copy(update={"lines": tuple(lines)})


def _line_id_errors(order: Order, products: Mapping[str, Product]) -> Iterator[FieldError]:
    """Lines that could be taken for a kit's components."""
    ids = {line.line_id for line in order.lines}
    broken = {x.line_id for x in order.lines if x.sku in products and products[x.sku].components}
    for position, line in enumerate(order.lines):
        if line.parent_line_id is not None and line.parent_line_id not in ids:
            message = f"no line '{line.parent_line_id}'"
            yield FieldError(f"lines.{position}.parent_line_id", message)
        if line.kit_in_id in broken:
            message = f"stands for a component of line '{line.kit_in_id}', a kit"
            yield FieldError(f"lines.{position}.line_id", message)


def _normal_lines(
    line: OrderLine, products: Mapping[str, Product], places: int
) -> tuple[OrderLine, ...]:
    product = products[line.sku]
    parts = kits.parts_of(product, products.get)
    if not parts:
        return (in_base_units(line, product, places),)
    ordered = to_base_units(product, line.quantity, line.ordered_uom)
    return kits.broken(line, ordered, parts, places)


def in_base_units(line: OrderLine, product: Product, places: int) -> OrderLine:
    """The line in base units with the same total, for a currency with that many decimal places.

    Raises UnknownUnitError for a unit the product is not sold in, ValueError when too many units.
    """
    quantity = to_base_units(product, line.quantity, line.ordered_uom)
    if quantity == line.quantity:
        return line
    if quantity > MAX_QUANTITY:
        raise ValueError(f"{quantity} base units are more than {MAX_QUANTITY}")
    as_ordered = {
        "quantity": line.quantity,
        "uom": line.ordered_uom,
        "unit_price": str(line.unit_price),
    }
    return line.model_copy(
        update={
            **kits.priced(line, quantity, places),
            "attributes": {**line.attributes, AS_ORDERED: as_ordered},
        }
    )


def _node_errors(order: Order, nodes: Mapping[str, Node]) -> Iterator[FieldError]:
    for position, group in enumerate(order.ship_groups):
        if group.node_id is None:
            continue
        known = nodes.get(group.node_id)
        if known is None:
            yield FieldError(f"ship_groups.{position}.node_id", f"no node '{group.node_id}'")
        elif group.method is not Method.SHIP and not known.offers_pickup:
            yield FieldError(
                f"ship_groups.{position}.node_id", f"'{group.node_id}' offers no pick-up"
            )


@dataclass(frozen=True)
class Accepted:
    """What became of a document: `outcome` is new, same, amendment or conflict."""

    outcome: str
    order_id: str
    version: int
    workflow_id: str
    reason: str = ""


class Intake:
    """Accepts order documents into the store: kept once this returns, started by the dispatcher."""

    def __init__(
        self,
        engine: Engine,
        reference: Reference,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        settle_promise: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Accept into that database, checking against that catalogue and network.

        `settle_promise` has a promise of this process written: an order may name one.
        """
        self._engine = engine
        self._settle_promise = settle_promise
        self._reference = reference
        self._clock = clock

    def accept(self, raw: bytes, entered_by: str) -> Accepted:
        """Check, normalise and keep the document; one transaction.

        Raises InvalidDocumentError with each bad field's path; nothing is stored then.
        """
        return self.accept_order(parse_order(raw), entered_by)

    def accept_order(self, order: Order, entered_by: str) -> Accepted:
        """Like `accept`, for a document that was parsed already."""
        sent = order_intake.content_hash(order)
        if order.promise_id is not None:
            self._settle_promise(order.promise_id)
        with reading(self._engine) as session:
            order = self.checked(session, order)
        with transaction(self._engine) as session:
            return self.keep(session, order, sent, entered_by)

    def keep(self, session: Session, order: Order, sent: str, entered_by: str) -> Accepted:
        """Keep a checked order in the caller's transaction; `sent` is the hash of what was sent."""
        kept = order_intake.accept_order(
            session,
            order,
            content_hash=sent,
            entered_by=entered_by,
            now=self._clock(),
            pins=pins_of(session, order, self._clock()),
        )
        if order.promise_id is not None and kept.outcome is Outcome.NEW:
            tell_if_lost(session, kept.order_id, order.promise_id, self._clock())
        if order.reservation_id and kept.outcome in {Outcome.NEW, Outcome.AMENDMENT}:
            holds.bind(
                session,
                order.reservation_id,
                kept.order_id,
                now=self._clock(),
                expires=kept.outcome is Outcome.AMENDMENT,
            )
        return Accepted(
            kept.outcome, kept.order_id, kept.version, kept.workflow_id, kept.reason or ""
        )

    def checked(self, session: Session, order: Order) -> Order:
        """The order as `normalise` gives it. Raises InvalidDocumentError."""
        known = self._reference.known(session)
        network = known.network
        if order.currency != network.base_currency:
            rates = network_store.exchange_rates(session)
            if order.currency not in rates:
                message = f"no exchange rate from {order.currency} to {network.base_currency}"
                raise InvalidDocumentError([FieldError("currency", message)])
        products = known.with_components(session, {line.sku for line in order.lines})
        return normalise(order, products, known.nodes)


def pins_of(session: Session, order: Order, now: datetime) -> dict[str, str]:
    """The policy versions the order is handled under from now on: `routing` and `process`.

    A promise made before pins the routing policy it was made with; a lost one pins nothing. Raises
    InvalidDocumentError for one that cannot have been lost, RetryableError while no policy is
    active for such orders.
    """
    whose = whose_order(order)
    try:
        process = policies.active_version(session, "process", whose, now)
        if order.promise_id is None or is_lost(session, order.promise_id):
            routing = policies.active_version(session, "routing", whose, now)
            return {"routing": routing, "process": process}
    except UnknownReferenceError as error:
        raise RetryableError(str(error)) from error
    try:
        policy = decisions.load_policy(session, order.promise_id)
    except UnknownReferenceError:
        unknown = FieldError("promise_id", f"no promise '{order.promise_id}'")
        raise InvalidDocumentError([unknown]) from None
    document = policy.model_dump(mode="json")
    return {"routing": policies.publish(session, "routing", document, now), "process": process}


@dataclass(frozen=True)
class Captured:
    """A vendor's document: accepted, or kept in quarantine with its reason and bad fields."""

    message_id: int
    accepted: Accepted | None = None
    reason: str = ""
    errors: tuple[FieldError, ...] = ()


class Capture:
    """Takes vendors' own order documents. Each is kept as it came, whatever becomes of it."""

    def __init__(
        self,
        engine: Engine,
        reference: Reference,
        intake: Intake,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Hand readable documents to that intake."""
        self._engine = engine
        self._reference = reference
        self._intake = intake
        self._clock = clock

    def take(self, connection_id: str, raw: bytes, entered_by: str) -> Captured:
        """Accept the document or put it in quarantine; one transaction.

        Raises UnknownReferenceError when there is no capture connection of that id.
        """
        with reading(self._engine) as session:
            connection = self._connection(session, connection_id)
            read = self._read(session, connection, raw)
        with transaction(self._engine) as session:
            message_id, _ = inbox.put(
                session,
                kind="capture",
                connection_id=connection_id,
                event_id=f"capture-{hashlib.sha256(raw).hexdigest()}",
                stream=f"capture-{connection_id}",
                name="capture",
                payload={"entered_by": entered_by},
                body=raw,
                now=self._clock(),
            )
            return self._settle(session, message_id, read, entered_by)

    def retake(self, connection_id: str, raw: bytes, message_id: int, entered_by: str) -> Captured:
        """Try a document again that was let out of quarantine."""
        with reading(self._engine) as session:
            connection = self._connection(session, connection_id)
            read = self._read(session, connection, raw)
        with transaction(self._engine) as session:
            return self._settle(session, message_id, read, entered_by)

    def _connection(self, session: Session, connection_id: str) -> Connection:
        connection = self._reference.known(session).connections.get(connection_id)
        if connection is None or connection.kind is not ConnectionClass.CAPTURE:
            raise UnknownReferenceError(f"no capture connection '{connection_id}'")
        return connection

    def _read(
        self, session: Session, connection: Connection, raw: bytes
    ) -> tuple[Order, str] | InvalidDocumentError:
        """The checked order and the hash of what was sent, or why there is none."""
        vendor = vendors.VENDORS.get(connection.vendor)
        if vendor is None:
            return InvalidDocumentError([], f"no capture for the vendor '{connection.vendor}'")
        try:
            document = vendor.translate(connection, raw)
            refuse_unstorable(document)
            order = check_order(document)
            return self._intake.checked(session, order), order_intake.content_hash(order)
        except QuarantineError as error:
            return InvalidDocumentError([], str(error))
        except InvalidDocumentError as error:
            return error

    def _settle(
        self,
        session: Session,
        message_id: int,
        read: tuple[Order, str] | InvalidDocumentError,
        entered_by: str,
    ) -> Captured:
        if isinstance(read, InvalidDocumentError):
            reason = "; ".join([read.detail, *(f"{x.path}: {x.message}" for x in read.errors)])[
                :MOST_REASON
            ]
            inbox.quarantine(session, message_id, reason)
            return Captured(message_id, reason=reason, errors=tuple(read.errors))
        accepted = self._intake.keep(session, *read, entered_by)
        if accepted.outcome == "conflict":
            inbox.quarantine(session, message_id, accepted.reason)
            return Captured(message_id, reason=accepted.reason)
        inbox.done(session, [message_id], self._clock())
        return Captured(message_id, accepted)
