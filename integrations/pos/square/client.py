"""One Square account: orders for its stores' people, and the stock that its tills keep."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx

from domain.errors import OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import NodeEvent
from domain.fulfillments import Package, PackageLine
from domain.network import Connection
from domain.orders import Address
from integrations.http import Reply, call
from integrations.node_system import CancelReply, CancelReplyOutcome, Handover, HandoverReceipt
from integrations.pos.square import requests
from integrations.pos.square.catalogue import Catalogue
from integrations.pos.square.orders import COMPLETED, ENDED, SHIPMENT, ShownOrder, events_of
from integrations.pos.square.requests import SOURCE, SquareSettings
from integrations.reading import understood
from integrations.settings import secret_of, settings_of
from integrations.stock import StockReading
from integrations.vendor import Secrets
from integrations.wording import told

_BAD_REQUEST = 400
_NOT_FOUND = 404
_CONFLICT = 409
_CHANGED_MEANWHILE = "VERSION_MISMATCH"
_READINGS_OF_A_CHANGE = 3
_ORDERS_A_PAGE = 500
_COUNTS_A_PAGE = 1_000
_MOST_PAGES = 1_000
_LABELS_GONE = "nobody collected it in time"


class Square:
    """See StoreSystem. An order is made once by its key, and known by its metadata."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read settings and token. Raises ValueError naming what is missing."""
        self._settings = settings_of(connection, SquareSettings)
        token = secret_of(connection, secrets, self._settings.token_env)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Square-Version": self._settings.version,
        }
        self._nodes = {place: node for node, place in self._settings.locations.items()}
        self._connection_id = connection.connection_id
        self._base = connection.base_url.rstrip("/")
        self._client = client
        self._catalogue = Catalogue(self._sku_of)
        self._order_ids: dict[str, str] = {}

    def release(self, handover: Handover) -> HandoverReceipt:
        """See NodeSystem.release: the store's people accept it later.

        An order is shown to them once it is paid, and one that costs nothing is paid by saying so.
        """
        order = handover.order
        place = self._settings.locations.get(order.node_id)
        if place is None:
            raise RefusedError(
                f"no location of Square's is {order.node_id}: name it in the connection's"
                " settings.locations"
            )
        variations = self._variations({line.sku for line in order.lines})
        body = requests.order_request(handover, place, self._settings.currency, variations)
        reply = self._call("POST", "/orders", body, also_accept=(_BAD_REQUEST, _CONFLICT))
        if reply.status in (_BAD_REQUEST, _CONFLICT):
            # The key was used: for this order, before its address or its catalogue changed.
            known = self._find(order.fulfillment_id)
            if known is None:
                raise RefusedError(f"Square takes no such order: {_reason(reply)}")
        else:
            known = _read(reply.body.get("order"))
            self._order_ids[order.fulfillment_id] = known.id
        self._show(known, order.fulfillment_id)
        return HandoverReceipt(external_id=known.id, acknowledged=False, ships_itself=False)

    def update_address(self, fulfillment_id: str, address: Address) -> bool:
        """See NodeSystem.update_address."""
        to = {"recipient": requests.recipient(address)}

        def change(order: ShownOrder, shown: Mapping[str, Any]) -> dict[str, Any] | None:
            if order.work.type != SHIPMENT or order.work.state not in {"PROPOSED", "RESERVED"}:
                return None
            key = f"{fulfillment_id}/address/{order.version}"
            return requests.change_request(shown, key, kind=SHIPMENT, state=None, **to)

        return self._change(fulfillment_id, change) is not None

    def request_cancel(
        self,
        fulfillment_id: str,
        request_id: str,
        lines: tuple[PackageLine, ...] | None,
        reason: str,
    ) -> CancelReply:
        """See NodeSystem.request_cancel: Square cancels a fulfillment whole, or not."""
        found = self._find(fulfillment_id)
        if found is None:
            return CancelReply(outcome=CancelReplyOutcome.UNKNOWN)
        if lines is not None and not _is_all(found, lines):
            return CancelReply(outcome=CancelReplyOutcome.TOO_LATE)
        ended = self._end(fulfillment_id, reason or "cancelled")
        if ended is None:
            return CancelReply(outcome=CancelReplyOutcome.TOO_LATE)
        return CancelReply(outcome=CancelReplyOutcome.CANCELLED, lines=lines or ())

    def remind(self, fulfillment_id: str) -> None:
        """See NodeSystem.remind: Square has no call for it, but must know the order."""
        self._known(fulfillment_id)

    def attach_labels(self, fulfillment_id: str, packages: tuple[Package, ...]) -> None:
        """See NodeSystem.attach_labels: carrier and number stand at the store's order."""
        if not packages:
            return
        label = requests.labelled(packages)

        def change(order: ShownOrder, shown: Mapping[str, Any]) -> dict[str, Any] | None:
            if order.work.details.tracking_number == label["tracking_number"]:
                return None
            key = f"{fulfillment_id}/label/{order.version}"
            return requests.change_request(shown, key, kind=SHIPMENT, state=None, **label)

        self._change(fulfillment_id, change)

    def pickup_expired(self, fulfillment_id: str) -> None:
        """See NodeSystem.pickup_expired."""
        self._known(fulfillment_id)
        self._end(fulfillment_id, _LABELS_GONE)

    def events_of(self, fulfillment_id: str) -> tuple[NodeEvent, ...]:
        """See NodeSystem.events_of: Square shows the present state, which implies the others."""
        order = self._known(fulfillment_id)
        return understood(lambda: events_of(order))

    def reports(self, fulfillment_id: str) -> tuple[NodeEvent, ...]:
        """See NodeSystem.reports."""
        return self.events_of(fulfillment_id)

    def fulfillment_of(self, external_id: str) -> str | None:
        """See NamesOrders."""
        path = f"/orders/{quote(external_id, safe='')}"
        reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
        shown = reply.body.get("order")
        metadata = shown.get("metadata") if isinstance(shown, dict) else None
        found = metadata.get(requests.OURS) if isinstance(metadata, dict) else None
        if not isinstance(found, str):
            return None
        self._order_ids[found] = external_id
        return found

    def stock(self) -> tuple[StockReading, ...]:
        """See StockSource.stock: what tills and paid orders have left."""
        counts = list(self._counts())
        skus = self._catalogue.skus(x["catalog_object_id"] for x in counts)
        return tuple(
            understood(lambda x=count: self._reading(x, skus))  # type: ignore[misc]
            for count in counts
            if count["catalog_object_id"] in skus
        )

    def check(self) -> str:
        """See NodeSystem.check: the token's account has every location that is named."""
        listed = self._call("GET", "/locations").body
        there = {x.get("id") for x in listed.get("locations") or () if isinstance(x, dict)}
        missing = sorted(set(self._nodes) - there)
        if missing:
            raise RefusedError(f"Square takes the token, but has no location {', '.join(missing)}")
        return "Square takes the token"

    def _show(self, order: ShownOrder, fulfillment_id: str) -> None:
        """Pay nothing for it; a second time changes nothing."""
        if order.state != "OPEN" or order.work.state != "PROPOSED":
            return
        body = {"idempotency_key": f"{fulfillment_id}/pay", "payment_ids": []}
        self._call("POST", f"/orders/{quote(order.id, safe='')}/pay", body)

    def _end(self, fulfillment_id: str, reason: str) -> ShownOrder | None:
        """Cancel the work, and put its units back into Square's stock; None: it is done."""
        why = requests.cancelled(reason)

        def change(order: ShownOrder, shown: Mapping[str, Any]) -> dict[str, Any] | None:
            if order.work.state in ENDED or order.work.state == COMPLETED:
                return None
            key = f"{fulfillment_id}/cancel/{order.version}"
            kind = order.work.type
            return requests.change_request(shown, key, kind=kind, state="CANCELED", **why)

        self._change(fulfillment_id, change)
        order = self._known(fulfillment_id)
        if order.work.state not in ENDED:
            return None
        units = order.variations()
        if units and order.work.details.cancel_reason == why["cancel_reason"]:
            # Cancelled by doms: what the store's people cancel, they put back by themselves.
            key = f"{fulfillment_id}/back"
            body = requests.returned_request(
                key, order.location_id, units, order.updated_at.isoformat()
            )
            # A repeat, whose time differs, and a product without stock are refused.
            self._call("POST", "/inventory/changes/batch-create", body, also_accept=(_BAD_REQUEST,))
        return order

    def _change(
        self,
        fulfillment_id: str,
        change: Callable[[ShownOrder, Mapping[str, Any]], dict[str, Any] | None],
    ) -> ShownOrder | None:
        """Change the order as it is now, and again where it was changed meanwhile.

        None where there is nothing to change.
        """
        for _ in range(_READINGS_OF_A_CHANGE):
            order = self._known(fulfillment_id)
            shown = {"location_id": order.location_id, "version": order.version}
            body = change(order, shown)
            if body is None:
                return None
            path = f"/orders/{quote(order.id, safe='')}"
            reply = self._call("PUT", path, body, also_accept=(_BAD_REQUEST, _CONFLICT))
            if reply.status not in (_BAD_REQUEST, _CONFLICT):
                return _read(reply.body.get("order"))
            if reply.status == _BAD_REQUEST and _CHANGED_MEANWHILE not in _codes(reply):
                raise RefusedError(f"Square does not change the order: {_reason(reply)}")
        raise OutsideUnavailableError(f"Square's order of {fulfillment_id} changes all the time")

    def _known(self, fulfillment_id: str) -> ShownOrder:
        order = self._find(fulfillment_id)
        if order is None:
            raise UnknownReferenceError(f"Square does not know {fulfillment_id}")
        return order

    def _find(self, fulfillment_id: str) -> ShownOrder | None:
        """By the id that Square gave it, else among all that came from doms, newest first."""
        order_id = self._order_ids.get(fulfillment_id)
        if order_id is not None:
            path = f"/orders/{quote(order_id, safe='')}"
            reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
            return None if reply.status == _NOT_FOUND else _read(reply.body.get("order"))
        for page in self._pages("/orders/search", self._search(), "orders"):
            for shown in page:
                name = (shown.get("metadata") or {}).get(requests.OURS)
                if isinstance(name, str):
                    self._order_ids.setdefault(name, str(shown.get("id")))
                if name == fulfillment_id:
                    return _read(shown)
        return None

    def _search(self) -> dict[str, Any]:
        return {
            "location_ids": sorted(self._nodes),
            "limit": _ORDERS_A_PAGE,
            "query": {
                "filter": {"source_filter": {"source_names": [SOURCE]}},
                "sort": {"sort_field": "CREATED_AT", "sort_order": "DESC"},
            },
        }

    def _variations(self, skus: set[str]) -> Mapping[str, str]:
        """The catalogue's ids of these SKUs; the catalogue is read when one was never heard of."""
        known = self._catalogue.variations()
        if not skus <= set(known):
            self._catalogue.skus(x["catalog_object_id"] for x in list(self._counts()))
            known = self._catalogue.variations()
        return known

    def _sku_of(self, variation: str) -> str | None:
        path = f"/catalog/object/{quote(variation, safe='')}"
        reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            return None
        data = (reply.body.get("object") or {}).get("item_variation_data") or {}
        return data.get("sku") or None

    def _counts(self) -> Iterator[dict[str, Any]]:
        body = {
            "location_ids": sorted(self._nodes),
            "states": ["IN_STOCK"],
            "limit": _COUNTS_A_PAGE,
        }
        for page in self._pages("/inventory/counts/batch-retrieve", body, "counts"):
            for count in page:
                if count.get("state") == "IN_STOCK" and count.get("catalog_object_id"):
                    yield count

    def _reading(self, count: Mapping[str, Any], skus: Mapping[str, str]) -> StockReading:
        # What is sold by weight or length comes in parts: only whole units can be promised.
        units = int(Decimal(str(count["quantity"])).to_integral_value(rounding="ROUND_FLOOR"))
        return StockReading(
            node_id=self._nodes[count["location_id"]],
            sku=skus[count["catalog_object_id"]],
            net=units,
        )

    def _pages(
        self, path: str, body: Mapping[str, Any], name: str
    ) -> Iterator[list[dict[str, Any]]]:
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = self._call("POST", path, {**body, "cursor": cursor} if cursor else body).body
            yield [x for x in page.get(name) or () if isinstance(x, dict)]
            cursor = page.get("cursor")
            if not cursor:
                return
        raise OutsideUnavailableError("Square's pages have no end")

    def _call(
        self, method: str, path: str, body: object = None, *, also_accept: tuple[int, ...] = ()
    ) -> Reply:
        return call(
            self._client,
            method,
            f"{self._base}/v2{path}",
            body=body,
            headers=self._headers,
            also_accept=also_accept,
            connection_id=self._connection_id,
        )


def _read(order: Any) -> ShownOrder:
    return understood(lambda: ShownOrder.model_validate(order))


def _is_all(order: ShownOrder, lines: tuple[PackageLine, ...]) -> bool:
    """Whether those lines are all of the order."""
    there = sum(Decimal(line.quantity) for line in order.line_items)
    return sum(line.quantity for line in lines) >= there


def _codes(reply: Reply) -> set[str]:
    return {str(x.get("code")) for x in reply.body.get("errors") or () if isinstance(x, dict)}


def _reason(reply: Reply) -> str:
    return told(reply.body) or "it says not why"
