"""A customer's way to one order: a random token that nobody can guess or derive."""

import secrets

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from store.columns import query

_TOKEN_BYTES = 16
_FIND = query("SELECT order_id FROM orders WHERE tracking_token = :tracking_token", "orders")
_OF = query("SELECT tracking_token FROM orders WHERE order_id = :order_id", "orders")


def new_tracking_token() -> str:
    """128 random bits as 32 characters that fit into an address."""
    return secrets.token_hex(_TOKEN_BYTES)


def tracked_order(session: Session, token: str) -> str:
    """The order of that token. Raises UnknownReferenceError."""
    row = session.execute(_FIND, {"tracking_token": token}).one_or_none()
    if row is None:
        raise UnknownReferenceError("nothing is tracked under that address")
    return str(row.order_id)


def tracking_token(session: Session, order_id: str) -> str | None:
    """The token of an order, if there is such an order."""
    row = session.execute(_OF, {"order_id": order_id}).one_or_none()
    return None if row is None else row.tracking_token
