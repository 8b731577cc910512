"""Square's webhooks: proved over address and body. What they tell of is read from Square."""

import hmac
from base64 import b64encode
from hashlib import sha256
from typing import Any

from domain.network import Connection
from integrations.errors import BadSignatureError, QuarantineError
from integrations.reading import json_object
from integrations.vendor import Event, Headers, NewsOfOrder, NewsOfStock

_SIGNATURE = "x-square-hmacsha256-signature"
_LONGEST_ID = 200
_STOCK = "inventory.count.updated"
_WORK = "order.fulfillment.updated"


def verify(connection: Connection, secret: str, headers: Headers, raw: bytes) -> str:
    """Check the signature and return the event's id. Raises BadSignatureError."""
    address = connection.settings.get("webhook_url")
    if not isinstance(address, str) or not address:
        raise BadSignatureError(
            f"connection {connection.connection_id}: set settings.webhook_url to the address that"
            " Square's subscription names"
        )
    lowered = {name.lower(): value for name, value in headers.items()}
    digest = hmac.new(secret.encode(), address.encode() + raw, sha256).digest()
    expected = b64encode(digest)
    if not hmac.compare_digest(lowered.get(_SIGNATURE, "").encode(), expected):
        raise BadSignatureError(f"{_SIGNATURE} is missing, or not made with our key and address")
    return _event_id(raw)


def translate(body: dict[str, Any]) -> tuple[Event, ...]:
    """That there is news of stock or of an order's work; nothing for the rest Square tells of.

    A till's sale changes the stock, so it is told as that. Raises QuarantineError for what does not
    say what it is.
    """
    kind = body.get("type")
    if not isinstance(kind, str) or not kind:
        raise QuarantineError("type: says not what the event tells of")
    if kind == _STOCK:
        return (NewsOfStock(),)
    if kind != _WORK:
        return ()
    data = body.get("data")
    external_id = data.get("id") if isinstance(data, dict) else None
    if not isinstance(external_id, str) or not external_id:
        raise QuarantineError("data.id: says not which order it is about")
    return (NewsOfOrder(external_id),)


def _event_id(raw: bytes) -> str:
    """The event's own id; of a body that has none, its hash: it is kept, and once."""
    try:
        found = json_object(raw).get("event_id")
    except QuarantineError:
        found = None
    if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID:
        return found
    return sha256(raw).hexdigest()
