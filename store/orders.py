"""Orders' documents, and what an account's orders come to."""

from decimal import Decimal

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.orders import Order
from store.columns import query
from store.network import base_currency, exchange_rates

_LATEST = query(
    "SELECT document FROM order_versions WHERE order_id = :order_id ORDER BY version DESC LIMIT 1",
    "order_versions",
)
_VERSION = query(
    "SELECT document FROM order_versions WHERE order_id = :order_id AND version = :version",
    "order_versions",
)
_ENTERED_BY = query("SELECT entered_by FROM orders WHERE order_id = :order_id", "orders")
_CHANGED_BY = query(
    "SELECT v.entered_by FROM order_versions v JOIN orders o ON o.order_id = v.order_id"
    " WHERE v.order_id = :order_id AND v.entered_by <> o.entered_by",
    "order_versions",
    "orders",
)
_OPEN_TERMS = query(
    "SELECT total, currency FROM orders WHERE account_id = :account_id AND NOT closed"
    " AND payment_status = 'terms' AND order_id <> :order_id",
    "orders",
)


def load_order(session: Session, order_id: str, version: int | None = None) -> Order:
    """A version of the document, the latest by default. Raises UnknownReferenceError."""
    sql = _LATEST if version is None else _VERSION
    row = session.execute(sql, {"order_id": order_id, "version": version}).one_or_none()
    if row is None:
        which = "" if version is None else f" version {version}"
        raise UnknownReferenceError(f"no order '{order_id}'{which}")
    return Order.model_validate(row.document)


def must_exist(session: Session, order_id: str) -> None:
    """Raises UnknownReferenceError when there is no such order."""
    entered_by(session, order_id)


def entered_by(session: Session, order_id: str) -> str:
    """Who entered the order, as the edge stamped it. Raises UnknownReferenceError."""
    found = session.execute(_ENTERED_BY, {"order_id": order_id}).scalar_one_or_none()
    if found is None:
        raise UnknownReferenceError(f"no order '{order_id}'")
    return str(found)


def changed_by(session: Session, order_id: str) -> frozenset[str]:
    """Who entered later versions of the order, but for who entered the order itself."""
    return frozenset(session.execute(_CHANGED_BY, {"order_id": order_id}).scalars())


def open_terms(session: Session, account_id: str, except_order_id: str) -> Decimal:
    """What an account's other open orders on terms come to, in the base currency.

    Raises UnknownReferenceError when a currency has no exchange rate.
    """
    base, rates = base_currency(session), exchange_rates(session)
    rows = session.execute(_OPEN_TERMS, {"account_id": account_id, "order_id": except_order_id})
    total = Decimal(0)
    for row in rows:
        rate = "1" if row.currency == base else rates.get(row.currency)
        if rate is None:
            raise UnknownReferenceError(f"no exchange rate for {row.currency}: set one")
        total += Decimal(row.total) * Decimal(rate)
    return total
