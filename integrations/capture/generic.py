"""Orders that already come in doms's own JSON, from a shop that knows doms."""

from typing import Any

from domain.network import Connection
from domain.orders import Order
from integrations.capture.port import CaptureVendor, captured_order_id
from integrations.errors import QuarantineError
from integrations.reading import json_object, quarantined
from integrations.standard_webhooks import verify


def translate(connection: Connection, raw: bytes) -> dict[str, Any]:
    """The document with `source` and `order_id` filled in where they are left out.

    Raises QuarantineError naming the bad fields.
    """
    document: dict[str, Any] = json_object(raw)
    document.setdefault("source", connection.connection_id)
    if "order_id" not in document:
        external_id = document.get("external_id")
        if not isinstance(external_id, str) or not external_id:
            raise QuarantineError("external_id: must be a text that is not empty")
        document["order_id"] = quarantined(
            lambda: captured_order_id(connection.connection_id, external_id)
        )
    quarantined(lambda: Order.model_validate(document))
    return document


VENDOR = CaptureVendor(verify=verify, translate=translate)
