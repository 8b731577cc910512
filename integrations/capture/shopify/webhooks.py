"""Shopify's webhooks: proved over the raw body, and known by their id."""

import hmac
from base64 import b64encode
from hashlib import sha256

from domain.network import Connection
from integrations.errors import BadSignatureError
from integrations.vendor import Headers

_SIGNATURE = "x-shopify-hmac-sha256"
_ID = "x-shopify-webhook-id"
_LONGEST_ID = 200


def verify(_: Connection, secret: str, headers: Headers, raw: bytes) -> str:
    """Check `X-Shopify-Hmac-SHA256` and return the webhook's id. Raises BadSignatureError.

    Shopify sends no time that could be proved: an old body is told by its order's own times.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    expected = b64encode(hmac.new(secret.encode(), raw, sha256).digest())
    if not hmac.compare_digest(lowered.get(_SIGNATURE, "").encode(), expected):
        raise BadSignatureError("X-Shopify-Hmac-SHA256 is missing, or not made with our secret")
    return lowered.get(_ID, "")[:_LONGEST_ID] or sha256(raw).hexdigest()
