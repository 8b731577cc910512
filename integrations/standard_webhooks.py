"""Standard Webhooks: the signature of doms's own JSON API, checked and made over the raw bytes."""

from datetime import datetime

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from domain.network import Connection
from integrations.errors import BadSignatureError
from integrations.vendor import Headers


def signer(secret: str) -> Webhook:
    """The key of a `whsec_...` or base64 secret. Raises ValueError when it is neither."""
    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError) as bad:
        raise ValueError("a webhook secret is base64 text, such as whsec_MfKQ9r8G...") from bad


def sign(key: Webhook, delivery_id: str, at: datetime, body: str) -> dict[str, str]:
    """The three headers that prove a body and its delivery id."""
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": key.sign(delivery_id, at, body),
    }


def verify(_: Connection, secret: str, headers: Headers, raw: bytes) -> str:
    """Check signature and age (5 minutes) and return `webhook-id`. Raises BadSignatureError."""
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        signer(secret).verify(raw, lowered, json_parse=False)
    except (WebhookVerificationError, ValueError) as bad:
        raise BadSignatureError(f"webhook signature: {bad}") from bad
    return lowered["webhook-id"]
