"""One UPS account, spoken to directly: rate, ship, void, track."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from domain.errors import RefusedError, UnknownReferenceError
from domain.events import CarrierEvent
from domain.network import Connection
from integrations.carrier.account import CarrierSettings, own_names
from integrations.carrier.port import Label, Rate, ShipmentRequest, VoidOutcome
from integrations.carrier.ups import documents
from integrations.carrier.ups.oauth import Token
from integrations.carrier.ups.tracking import events_of, packages_of
from integrations.http import Reply, call
from integrations.reading import understood
from integrations.settings import secret_of, settings_of
from integrations.vendor import Secrets
from integrations.wording import told

_VERSION = "v2409"
_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_SOURCE = "doms"
_VOIDED_TYPE = "MV"
_VOIDED_STATUS = "1"


class UpsSettings(CarrierSettings):
    """A connection's `settings`; services are named by UPS's codes, such as `03` for Ground."""

    account: str
    """The six-character shipper number that is billed."""
    client_id_env: str = "UPS_CLIENT_ID"
    client_secret_env: str = "UPS_CLIENT_SECRET"  # noqa: S105 (a variable's name)
    label_format: str = "GIF"


class Ups:
    """See Carrier. UPS has no idempotency key: a label is found again by our reference."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read settings and credentials. Raises ValueError naming what is missing."""
        self._settings = settings_of(connection, UpsSettings)
        self._connection_id = connection.connection_id
        self._base = connection.base_url.rstrip("/")
        self._client = client
        self._own_names = own_names(self._settings.services)
        self._token = Token(
            client=client,
            url=f"{self._base}/security/v1/oauth/token",
            client_id=secret_of(connection, secrets, self._settings.client_id_env),
            client_secret=secret_of(connection, secrets, self._settings.client_secret_env),
            account=self._settings.account,
            connection_id=connection.connection_id,
        )

    def rates(self, request: ShipmentRequest) -> tuple[Rate, ...]:
        """See Carrier.rates."""
        sender = self._settings.sender_of(request.node_id)
        body = documents.rate_request(request, sender, self._settings.account)
        answer = self._call("POST", f"/api/rating/{_VERSION}/Shop", body).body
        return understood(lambda: documents.rates_of(answer, request, self._own_names))

    def buy(
        self, request: ShipmentRequest, service: str, key: str, shipment_id: str | None = None
    ) -> Label:
        """See Carrier.buy: asked once; after a lost answer `find_label` comes first."""
        body = documents.ship_request(
            request,
            self._settings.sender_of(request.node_id),
            self._settings.account,
            self._code(service),
            key,
            self._settings.label_format,
        )
        answer = self._call("POST", f"/api/shipments/{_VERSION}/ship", body, attempts=1).body
        return understood(lambda: documents.label_of(answer, service))

    def find_label(
        self, request: ShipmentRequest, key: str, shipment_id: str | None = None
    ) -> Label | None:
        """See Carrier.find_label: by our reference, then its picture by its number."""
        path = f"/api/track/v1/reference/details/{quote(documents.reference_of(key), safe='')}"
        query = documents.reference_query(request, self._settings.account)
        reply = self._call("GET", f"{path}?{query}", also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            return None
        packages = understood(lambda: packages_of(reply.body))
        ours = [x for x in packages if x.get("trackingNumber") and not _is_voided(x)]
        return self._recovered(ours[0], request) if ours else None

    def void(self, shipment_id: str, key: str) -> VoidOutcome:
        """See Carrier.void: UPS refuses once it has the parcel; voided before is voided."""
        path = f"/api/shipments/{_VERSION}/void/cancel/{quote(shipment_id, safe='')}"
        reply = self._call("DELETE", path, also_accept=(_BAD_REQUEST,))
        if reply.status == _BAD_REQUEST:
            is_void = self._was_voided(shipment_id)
            return VoidOutcome.VOIDED if is_void else VoidOutcome.TOO_LATE
        status = understood(
            lambda: reply.body["VoidShipmentResponse"]["SummaryResult"]["Status"]["Code"]
        )
        return VoidOutcome.VOIDED if status == _VOIDED_STATUS else VoidOutcome.TOO_LATE

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """See Carrier.track."""
        path = f"/api/track/v1/details/{quote(tracking_number, safe='')}"
        reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            raise UnknownReferenceError(f"no parcel has the tracking number {tracking_number}")
        return understood(lambda: events_of(reply.body, tracking_number))

    def check(self) -> str:
        """See Carrier.check."""
        self._token.value()
        return "UPS gives a token"

    def _was_voided(self, shipment_id: str) -> bool:
        path = f"/api/track/v1/details/{quote(shipment_id, safe='')}"
        reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            return False
        return any(map(_is_voided, understood(lambda: packages_of(reply.body))))

    def _recovered(self, package: dict[str, Any], request: ShipmentRequest) -> Label:
        number = package["trackingNumber"]
        body = documents.recovery_request(number, self._settings.label_format)
        answer = self._call("POST", f"/api/labels/{_VERSION}/recovery", body).body
        code = str((package.get("service") or {}).get("code") or "")
        return understood(
            lambda: Label(
                shipment_id=answer["LabelRecoveryResponse"].get("ShipmentIdentificationNumber")
                or number,
                tracking_number=number,
                carrier="UPS",
                service=self._own_names.get(code, f"UPS-{code}" if code else "UPS"),
                label_url="",
                currency=request.currency,
                image=documents.recovered_image(answer),
            )
        )

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        attempts: int = 3,
        also_accept: tuple[int, ...] = (),
    ) -> Reply:
        """One call; a token that UPS no longer takes is replaced once."""
        accepted = (*also_accept, _UNAUTHORIZED)
        reply = self._once(method, path, body, attempts, accepted)
        if reply.status == _UNAUTHORIZED:
            reply = self._once(method, path, body, attempts, accepted)
        if reply.status == _UNAUTHORIZED:
            raise RefusedError(f"{method} {self._base}{path} answered 401: {told(reply.body)}")
        return reply

    def _once(
        self, method: str, path: str, body: object, attempts: int, also_accept: tuple[int, ...]
    ) -> Reply:
        token = self._token.value()
        reply = call(
            self._client,
            method,
            self._base + path,
            body=body,
            headers={
                "Authorization": f"Bearer {token}",
                "transId": uuid4().hex,
                "transactionSrc": _SOURCE,
            },
            also_accept=also_accept,
            connection_id=self._connection_id,
            attempts=attempts,
        )
        if reply.status == _UNAUTHORIZED:
            self._token.refuse(token)
        return reply

    def _code(self, service: str) -> str:
        return self._settings.services.get(service, service.removeprefix("UPS-"))


def _is_voided(package: dict[str, Any]) -> bool:
    return (package.get("currentStatus") or {}).get("type") == _VOIDED_TYPE
