"""The plain JSON API of docs/simulators.md, as node systems and carriers speak it to doms."""

from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict

from domain.errors import OutsideUnavailableError, UnknownReferenceError
from domain.events import CarrierEvent, EventId, NodeEvent, NodeEventType
from domain.fulfillments import Package, PackageLine
from domain.network import Connection
from domain.orders import Address
from domain.values import DerivedId
from integrations.errors import QuarantineError
from integrations.http import Reply, call
from integrations.node_system import CancelReply, CancelReplyOutcome, Handover, HandoverReceipt
from integrations.reading import quarantined, understood
from integrations.vendor import Event, Secrets

_NODE_EVENTS = {f"order.{kind}": kind for kind in NodeEventType}
_TRACKER = "tracker.updated"
_NOT_FOUND = 404
_CONFLICT = 409


class ReferenceApi:
    """One connection to a system that speaks the reference API, with its bearer key if any."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read the key from the variable named in `settings.api_key_env`. Raises ValueError."""
        self._base = connection.base_url.rstrip("/")
        if not self._base:
            raise ValueError(f"connection {connection.connection_id}: base_url is empty")
        self._client = client
        self._connection_id = connection.connection_id
        self._headers: dict[str, str] = {}
        key_name = connection.settings.get("api_key_env")
        if key_name:
            if key_name not in secrets:
                raise ValueError(
                    f"connection {connection.connection_id}: set the variable {key_name}"
                )
            self._headers["Authorization"] = f"Bearer {secrets[key_name]}"

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        also_accept: tuple[int, ...] = (),
        key: str | None = None,
    ) -> Reply:
        headers = {**self._headers, "Idempotency-Key": key} if key else self._headers
        return call(
            self._client,
            method,
            self._base + path,
            body=body,
            headers=headers,
            also_accept=also_accept,
            connection_id=self._connection_id,
        )

    def check(self) -> str:
        """Ask whether it runs: `GET /healthz`."""
        self._call("GET", "/healthz")
        return "answers"

    def _track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        path = f"/trackers/{quote(tracking_number, safe='')}"
        reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            raise UnknownReferenceError(f"no parcel has the tracking number {tracking_number}")
        shared = {name: reply.body.get(name) for name in ("reference", "tracking_number")}
        events = _listed(reply.body, "events")
        return understood(lambda: tuple(carrier_event({**shared, **event}) for event in events))


class ReferenceNodeSystem(ReferenceApi):
    """A WMS, POS or third-party warehouse behind the reference API."""

    def release(self, handover: Handover) -> HandoverReceipt:
        """See NodeSystem.release."""
        order = handover.order
        body = {
            "reference": order.fulfillment_id,
            "node_id": order.node_id,
            "method": order.method,
            "service": order.service_id,
            "lines": order.lines,
            "ship_to": handover.ship_to,
            "customer_name": handover.customer_name,
            "ship_by": order.ship_by,
            "weights": handover.weights,
        }
        answer = self._call("POST", "/orders", body).body
        return understood(
            lambda: HandoverReceipt(
                external_id=answer["id"],
                acknowledged=answer["status"] != "received",
                ships_itself=answer.get("ships_itself", False),
            )
        )

    def update_address(self, fulfillment_id: str, address: Address) -> bool:
        """See NodeSystem.update_address."""
        reply = self._call(
            "PUT", _order(fulfillment_id, "/address"), address, also_accept=(_CONFLICT,)
        )
        return reply.status != _CONFLICT

    def request_cancel(
        self,
        fulfillment_id: str,
        request_id: str,
        lines: tuple[PackageLine, ...] | None,
        reason: str,
    ) -> CancelReply:
        """See NodeSystem.request_cancel; a system that has no such order answers `unknown`."""
        body = {"request_id": request_id, "lines": lines, "reason": reason}
        reply = self._call(
            "POST", _order(fulfillment_id, "/cancel"), body, also_accept=(_NOT_FOUND,)
        )
        if reply.status == _NOT_FOUND:
            return CancelReply(outcome=CancelReplyOutcome.UNKNOWN)
        return understood(
            lambda: CancelReply.model_validate(
                {"outcome": reply.body["outcome"], "lines": reply.body.get("lines") or ()}
            )
        )

    def remind(self, fulfillment_id: str) -> None:
        """See NodeSystem.remind."""
        self._call("POST", _order(fulfillment_id, "/remind"), {})

    def attach_labels(self, fulfillment_id: str, packages: tuple[Package, ...]) -> None:
        """See NodeSystem.attach_labels."""
        labels = [
            package.model_dump(
                mode="json",
                include={"package_id", "carrier", "service", "tracking_number", "label_url"},
            )
            for package in packages
        ]
        self._call("POST", _order(fulfillment_id, "/labels"), {"labels": labels})

    def pickup_expired(self, fulfillment_id: str) -> None:
        """See NodeSystem.pickup_expired."""
        self._call("POST", _order(fulfillment_id, "/pickup-expired"), {})

    def events_of(self, fulfillment_id: str) -> tuple[NodeEvent, ...]:
        """See NodeSystem.events_of."""
        reply = self._call("GET", _order(fulfillment_id, ""), also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            raise UnknownReferenceError(f"the node does not know {fulfillment_id}")
        events = _listed(reply.body, "events")
        return understood(lambda: tuple(node_event(event) for event in events))

    def reports(self, fulfillment_id: str) -> tuple[NodeEvent | CarrierEvent, ...]:
        """See NodeSystem.reports."""
        return self.events_of(fulfillment_id)


class ReferenceThirdPartyWarehouse(ReferenceNodeSystem):
    """A third-party warehouse: a node system that also tracks its own parcels."""

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """See ThirdPartyWarehouse.track."""
        return self._track(tracking_number)


class _NodeWebhook(BaseModel):
    """The envelope of `order.*`; fields doms does not know are let through."""

    model_config = ConfigDict(extra="ignore")
    event_id: EventId
    occurred_at: Any
    reference: DerivedId
    lines: list[dict[str, Any]] | None = None
    packages: list[dict[str, Any]] | None = None
    reason: Any = ""
    request_id: EventId | None = None


_LINE_FIELDS = ("line_id", "picked", "short", "reason")
_PACKAGE_FIELDS = tuple(Package.model_fields)


def node_event(body: dict[str, Any]) -> NodeEvent:
    """An `order.*` document as a NodeEvent. Raises ValueError or pydantic.ValidationError."""
    kind = _NODE_EVENTS.get(str(body.get("type")))
    if kind is None:
        raise ValueError(f"type: '{str(body.get('type'))[:64]}' is not known here")
    told = _NodeWebhook.model_validate(body)
    return NodeEvent.model_validate(
        {
            "event_id": told.event_id,
            "occurred_at": told.occurred_at,
            "fulfillment_id": told.reference,
            "type": kind,
            "lines": [_only(line, _LINE_FIELDS) for line in told.lines or ()],
            "packages": [_only(package, _PACKAGE_FIELDS) for package in told.packages or ()],
            "reason": told.reason or "",
            "request_id": told.request_id,
        }
    )


def carrier_event(body: dict[str, Any]) -> CarrierEvent:
    """A tracker document as a CarrierEvent. Raises pydantic.ValidationError."""
    return CarrierEvent.model_validate(
        {
            "event_id": body.get("event_id"),
            "occurred_at": body.get("occurred_at"),
            "fulfillment_id": body.get("reference"),
            "tracking_number": body.get("tracking_number"),
            "status": body.get("status"),
            "detail": body.get("detail") or "",
        }
    )


def translate_node(body: dict[str, Any]) -> tuple[Event, ...]:
    """A webhook of a WMS or POS. Raises QuarantineError."""
    return (quarantined(lambda: node_event(body)),)


def translate_tracker(body: dict[str, Any]) -> tuple[Event, ...]:
    """A webhook of a carrier. Raises QuarantineError."""
    if body.get("type") != _TRACKER:
        raise QuarantineError(f"type: '{str(body.get('type'))[:64]}' is not known here")
    return (quarantined(lambda: carrier_event(body)),)


def translate_threepl(body: dict[str, Any]) -> tuple[Event, ...]:
    """A webhook of a system that ships itself: about an order or a parcel."""
    return translate_tracker(body) if body.get("type") == _TRACKER else translate_node(body)


def _listed(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    listed = body.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise OutsideUnavailableError(f"the answer makes no sense: {name} is no list of objects")
    return listed


def _only(document: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: document[name] for name in names if document.get(name) is not None}


def _order(fulfillment_id: str, action: str) -> str:
    return f"/orders/{quote(fulfillment_id, safe='')}{action}"
