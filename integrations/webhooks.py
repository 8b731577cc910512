"""What outside systems send by webhook: first proved over the raw bytes, later translated."""

from domain.network import Connection, ConnectionClass
from integrations.errors import BadSignatureError
from integrations.reading import json_object
from integrations.registry import capture_vendor_of, vendor_of
from integrations.vendor import Event, Headers


def verify(connection: Connection, secret: str | None, headers: Headers, raw: bytes) -> str:
    """Prove who sent it and return the vendor's id of the delivery, by which it counts once.

    `secret` is the value of the variable that `connection.secret_env` names. Raises
    BadSignatureError, also when no secret is set: an unproved webhook is never taken.
    """
    if not secret:
        raise BadSignatureError(
            f"connection {connection.connection_id} has no secret: set the variable "
            f"{connection.secret_env or 'that its secret_env should name'}"
        )
    is_shop = connection.kind is ConnectionClass.CAPTURE
    vendor = capture_vendor_of(connection) if is_shop else vendor_of(connection)
    return vendor.verify(connection, secret, headers, raw)


def translate(connection: Connection, raw: bytes) -> tuple[Event, ...]:
    """What a stored webhook tells, in doms's terms.

    Raises QuarantineError for anything that is malformed, unknown or of another class.
    """
    return vendor_of(connection).translate(json_object(raw))
