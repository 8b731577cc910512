"""ShipBob's webhooks: each says which order has news, and the news themselves are read from it.

They come in any order, and the order that is read afterwards is never older than what it tells.
"""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from domain.values import DerivedId
from integrations import standard_webhooks
from integrations.errors import QuarantineError
from integrations.vendor import Event, NewsOf

_OURS: TypeAdapter[str] = TypeAdapter(DerivedId)

verify = standard_webhooks.verify


def translate(body: dict[str, Any]) -> tuple[Event, ...]:
    """The fulfillment an order's or shipment's webhook is about. Raises QuarantineError."""
    reference = body.get("reference_id")
    if not isinstance(reference, str) or not reference:
        raise QuarantineError("reference_id: says not which order it is about")
    try:
        return (NewsOf(_OURS.validate_python(reference)),)
    except ValidationError as bad:
        raise QuarantineError("reference_id: is no id of ours") from bad
