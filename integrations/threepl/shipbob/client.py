"""One ShipBob channel: orders in, cancel, shipments and their way, stock."""

import logging
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import httpx

from domain.errors import DomsError, OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import CarrierEvent, NodeEvent
from domain.fulfillments import Package, PackageLine
from domain.network import Connection
from domain.orders import Address
from integrations.http import Reply, call
from integrations.node_system import CancelReply, CancelReplyOutcome, Handover, HandoverReceipt
from integrations.reading import understood
from integrations.settings import secret_of, settings_of
from integrations.stock import StockReading
from integrations.threepl.shipbob.orders import CANCELLED, Shipment, ShownOrder, events_of
from integrations.threepl.shipbob.requests import ShipBobSettings, address_request, order_request
from integrations.threepl.shipbob.tracking import names, parcel_events
from integrations.vendor import Secrets
from integrations.wording import told

log = logging.getLogger("doms.outside")

_VERSION = "/2026-01"
_BAD_REQUEST = 400
_NOT_FOUND = 404
_UNPROCESSABLE = 422
_REFUSALS = (_BAD_REQUEST, _NOT_FOUND, _UNPROCESSABLE)
_PAGE = 250
_MOST_PAGES = 1_000
_AWAITS_A_PERSON = "ImportReview"
_SUCCESS = "Success"
_PARTLY = "PartialSuccess"
_LIST = "items"


class ShipBob:
    """See ThirdPartyWarehouse. An order is known by `reference_id`, the fulfillment's id."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read settings and token. Raises ValueError naming what is missing."""
        self._settings = settings_of(connection, ShipBobSettings)
        token = secret_of(connection, secrets, self._settings.token_env)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "shipbob_channel_id": str(self._settings.channel_id),
        }
        self._nodes = {place: node for node, place in self._settings.locations.items()}
        self._connection_id = connection.connection_id
        self._base = connection.base_url.rstrip("/")
        self._client = client

    def release(self, handover: Handover) -> HandoverReceipt:
        """See NodeSystem.release: ShipBob takes a reference once, and the first order counts."""
        body = order_request(handover, self._settings)
        reply = self._call("POST", "/order", body, also_accept=(_UNPROCESSABLE,))
        if reply.status == _UNPROCESSABLE:
            known = self._find(handover.order.fulfillment_id)
            if known is None:
                raise RefusedError(f"ShipBob takes no such order: {_reason(reply)}")
        else:
            known = understood(lambda: ShownOrder.model_validate(reply.body))
        return HandoverReceipt(
            external_id=str(known.id),
            acknowledged=known.status not in {_AWAITS_A_PERSON, CANCELLED},
            ships_itself=True,
        )

    def update_address(self, fulfillment_id: str, address: Address) -> bool:
        """See NodeSystem.update_address: taken only where every shipment took it."""
        body = address_request(address)
        shipments = self._known(fulfillment_id).open_shipments()
        answers = [
            self._call("PUT", f"/shipment/{x.id}:updateAddress", body, also_accept=(_BAD_REQUEST,))
            for x in shipments
        ]
        taken = [x.status != _BAD_REQUEST and x.body.get("is_success") is True for x in answers]
        return bool(taken) and all(taken)

    def request_cancel(
        self,
        fulfillment_id: str,
        request_id: str,
        lines: tuple[PackageLine, ...] | None,
        reason: str,
    ) -> CancelReply:
        """See NodeSystem.request_cancel.

        ShipBob cancels orders and shipments, no single units: some lines are cancelled where they
        are all of some shipments. Which units those were is told when the order is read next.
        """
        order = self._find(fulfillment_id)
        if order is None:
            return CancelReply(outcome=CancelReplyOutcome.UNKNOWN)
        if order.status == CANCELLED:
            return CancelReply(outcome=CancelReplyOutcome.CANCELLED, lines=lines or ())
        if lines is None:
            return self._cancel_all(order)
        chosen = _holding_just(order, lines)
        cancelled = [self._cancel_shipment(shipment) for shipment in chosen]
        if not any(cancelled):
            return CancelReply(outcome=CancelReplyOutcome.TOO_LATE)
        return CancelReply(outcome=CancelReplyOutcome.PENDING)

    def remind(self, fulfillment_id: str) -> None:
        """See NodeSystem.remind: ShipBob has nobody to remind, but must know the order."""
        self._known(fulfillment_id)

    def attach_labels(self, fulfillment_id: str, packages: tuple[Package, ...]) -> None:
        """See NodeSystem.attach_labels: ShipBob buys its own."""
        raise RefusedError("ShipBob buys its own labels")

    def pickup_expired(self, fulfillment_id: str) -> None:
        """See NodeSystem.pickup_expired: ShipBob serves no pick-up."""
        raise RefusedError("ShipBob only ships: nobody collects there")

    def events_of(self, fulfillment_id: str) -> tuple[NodeEvent, ...]:
        """See NodeSystem.events_of."""
        events = understood(lambda: events_of(self._known(fulfillment_id)))
        return tuple(event for event in events if isinstance(event, NodeEvent))

    def reports(self, fulfillment_id: str) -> tuple[NodeEvent | CarrierEvent, ...]:
        """See NodeSystem.reports."""
        order = self._known(fulfillment_id)
        events = list(understood(lambda: events_of(order)))
        known = {event.event_id for event in events}
        for shipment in order.shipments:
            if shipment.has_left and shipment.delivery_date is None and shipment.tracking_number:
                way = self._way_of(fulfillment_id, shipment.tracking_number)
                events += [step for step in way if step.event_id not in known]
        return tuple(events)

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """See ThirdPartyWarehouse.track: the parcel's order is not told here."""
        steps = self._parcel(f"parcel.{self._connection_id}", tracking_number)
        if steps is None:
            raise UnknownReferenceError(f"no parcel has the tracking number {tracking_number}")
        return steps

    def stock(self) -> tuple[StockReading, ...]:
        """See StockSource.stock. Raises RefusedError where no location is a node's."""
        if not self._nodes:
            raise RefusedError("name each node's location in the connection's settings.locations")
        found = []
        for item in self._pages(f"/inventory-level/locations?PageSize={_PAGE}"):
            found += understood(lambda item=item: self._readings(item))  # type: ignore[misc]
        return tuple(found)

    def check(self) -> str:
        """See NodeSystem.check: the token may use the channel."""
        channels = self._pages(f"/channel?RecordsPerPage={_PAGE}")
        ids = [channel.get("id") for channel in channels]
        if self._settings.channel_id not in ids:
            raise RefusedError(
                f"ShipBob takes the token, but its channels are {ids}: correct settings.channel_id"
            )
        return f"ShipBob takes the token for channel {self._settings.channel_id}"

    def _cancel_all(self, order: ShownOrder) -> CancelReply:
        reply = self._call("POST", f"/order/{order.id}:cancel", also_accept=_REFUSALS)
        if reply.status in _REFUSALS:
            again = self._find(order.reference_id)
            is_cancelled = again is not None and again.status == CANCELLED
        elif reply.body.get("status") == _PARTLY:
            return CancelReply(outcome=CancelReplyOutcome.PENDING)
        else:
            is_cancelled = reply.body.get("status") == _SUCCESS
        if is_cancelled:
            return CancelReply(outcome=CancelReplyOutcome.CANCELLED)
        return CancelReply(outcome=CancelReplyOutcome.TOO_LATE)

    def _cancel_shipment(self, shipment: Shipment) -> bool:
        reply = self._call("POST", f"/shipment/{shipment.id}:cancel", also_accept=_REFUSALS)
        if reply.status not in _REFUSALS:
            return reply.body.get("status") == CANCELLED
        path = f"/shipment/{shipment.id}"
        again = self._call("GET", path, also_accept=(_NOT_FOUND,))
        return again.body.get("status") == CANCELLED

    def _find(self, fulfillment_id: str) -> ShownOrder | None:
        query = urlencode({"ReferenceIds": fulfillment_id, "Limit": _PAGE})
        listed = self._call("GET", f"/order?{query}", list_as=_LIST).body
        # A search may find more than what was asked for.
        found = [x for x in _entries(listed) if x.get("reference_id") == fulfillment_id]
        return understood(lambda: ShownOrder.model_validate(found[0])) if found else None

    def _known(self, fulfillment_id: str) -> ShownOrder:
        order = self._find(fulfillment_id)
        if order is None:
            raise UnknownReferenceError(f"ShipBob does not know {fulfillment_id}")
        return order

    def _way_of(self, fulfillment_id: str, number: str) -> tuple[CarrierEvent, ...]:
        """A parcel's way; that it cannot be told now must not hold back what the order tells."""
        try:
            return self._parcel(fulfillment_id, number) or ()
        except DomsError as error:
            log.info("%s tells nothing of a parcel: %s", self._connection_id, error)
            return ()

    def _parcel(self, fulfillment_id: str, number: str) -> tuple[CarrierEvent, ...] | None:
        path = f"/tracking?TrackingIds={quote(number, safe='')}"
        reply = self._call("GET", path, list_as=_LIST, also_accept=(_NOT_FOUND,))
        parcels = [] if reply.status == _NOT_FOUND else _entries(reply.body)
        named = [x for x in parcels if names(x, number)]
        if not named:
            return None
        return understood(lambda: parcel_events(named[0], fulfillment_id, number))

    def _readings(self, item: dict[str, Any]) -> list[StockReading]:
        return [
            StockReading(
                node_id=self._nodes[place["location_id"]],
                sku=item["sku"],
                physical=place["on_hand_quantity"],
                net=place["fulfillable_quantity"],
            )
            for place in item.get("locations") or ()
            if item.get("sku") and place["location_id"] in self._nodes
        ]

    def _pages(self, path: str) -> list[dict[str, Any]]:
        """Every entry of a list that ShipBob tells in pages, by its links to the next one."""
        found: list[dict[str, Any]] = []
        for _ in range(_MOST_PAGES):
            page = self._call("GET", path).body
            found += _entries(page)
            following = page.get("next")
            if not following:
                return found
            path = self._path_of(str(following))
        raise OutsideUnavailableError("ShipBob's pages have no end")

    def _path_of(self, link: str) -> str:
        """The path of a link to the next page: the token is sent to nobody but ShipBob."""
        here, there = urlsplit(self._base), urlsplit(urljoin(f"{self._base}{_VERSION}/", link))
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise OutsideUnavailableError(f"ShipBob's next page is elsewhere: {there.netloc}")
        return f"{there.path.removeprefix(here.path).removeprefix(_VERSION)}?{there.query}"

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        also_accept: tuple[int, ...] = (),
        list_as: str | None = None,
    ) -> Reply:
        return call(
            self._client,
            method,
            f"{self._base}{_VERSION}{path}",
            body=body,
            headers=self._headers,
            also_accept=also_accept,
            list_as=list_as,
            connection_id=self._connection_id,
        )


def _holding_just(order: ShownOrder, lines: tuple[PackageLine, ...]) -> list[Shipment]:
    """The open shipments that together hold exactly those units; none where none do."""
    contents = order.contents()
    left: dict[str, int] = {}
    for line in lines:
        left[line.line_id] = left.get(line.line_id, 0) + line.quantity
    chosen = []
    for shipment in order.open_shipments():
        units = contents[shipment.id]
        if units and all(left.get(line_id, 0) >= n for line_id, n in units.items()):
            chosen.append(shipment)
            for line_id, n in units.items():
                left[line_id] -= n
    return [] if any(left.values()) else chosen


def _entries(page: dict[str, Any]) -> list[dict[str, Any]]:
    return understood(lambda: [x for x in page[_LIST] or () if isinstance(x, dict)])


def _reason(reply: Reply) -> str:
    """ShipBob lists its reasons by field."""
    by_field = "; ".join(
        f"{field}: {', '.join(map(str, words))}"
        for field, words in reply.body.items()
        if isinstance(words, list) and field != "errors"
    )
    return by_field or told(reply.body) or "it says not why"
