"""Where ship groups go: addresses that changed after an order came in."""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.orders import Address, Order
from domain.plans import version_address
from store.columns import changed, query, statement
from store.orders import load_order

_BEFORE = query(
    "SELECT max(version) FROM order_versions WHERE order_id = :order_id AND version < :version",
    "order_versions",
)
_SAVE = statement(
    "INSERT INTO addresses (address_id, order_id, group_id, address)"
    " VALUES (:address_id, :order_id, :group_id, :address) ON CONFLICT DO NOTHING",
    "addresses",
)
_USE = statement(
    "UPDATE addresses SET used_at = :used_at, used_in_version ="
    " (SELECT version FROM orders WHERE orders.order_id = addresses.order_id)"
    " WHERE address_id = :address_id AND order_id = :order_id",
    "addresses",
)
_USED = query(
    "SELECT address, used_in_version FROM addresses WHERE order_id = :order_id"
    " AND group_id = :group_id AND used_at IS NOT NULL AND address_id NOT IN :refused"
    " ORDER BY used_at DESC, address_id LIMIT 1",
    "addresses",
    lists=["refused"],
)
_MOVED = query(
    "SELECT DISTINCT group_id FROM addresses WHERE order_id = :order_id AND used_at IS NOT NULL",
    "addresses",
)


def save_address(session: Session, order_id: str, group_id: str, address: Address) -> str:
    """Keep a changed address, apart because it is personal; its id. It is not in use yet.

    The same address for the same ship group has the same id. Raises UnknownReferenceError when
    the order has no such ship group.
    """
    order = load_order(session, order_id)
    if group_id not in {group.id for group in order.ship_groups}:
        raise UnknownReferenceError(f"order '{order_id}' has no ship group '{group_id}'")
    document = address.model_dump(mode="json")
    content = json.dumps([order_id, group_id, document], sort_keys=True)
    address_id = f"A-{hashlib.sha256(content.encode()).hexdigest()[:24]}"
    session.execute(
        _SAVE,
        {
            "address_id": address_id,
            "order_id": order_id,
            "group_id": group_id,
            "address": document,
        },
    )
    return address_id


def use_address(session: Session, order_id: str, address_id: str, now: datetime) -> None:
    """Send the ship group there from now on. Raises UnknownReferenceError."""
    row = {"order_id": order_id, "address_id": address_id, "used_at": now}
    if not changed(session, _USE, row):
        raise UnknownReferenceError(f"order '{order_id}' has no address '{address_id}'")


def address_of(
    session: Session, order_id: str, group_id: str, refused: Collection[str] = ()
) -> Address | None:
    """Where the ship group goes now: the address in use, else its document's.

    Addresses of the ids in `refused` are as if never used: a node was past changing to them.
    A later version of the document that itself changes the address overrides an address that was
    taken into use before. Raises UnknownReferenceError when there is no such order or ship group.
    """
    order = load_order(session, order_id)
    while version_address(order_id, order.version) in refused:
        order = load_order(session, order_id, _version_before(session, order))
    documented = _documented(order, group_id)
    used = session.execute(
        _USED, {"order_id": order_id, "group_id": group_id, "refused": ["", *refused]}
    ).one_or_none()
    if used is None:
        return documented
    if used.used_in_version != order.version:
        before = load_order(session, order_id, used.used_in_version)
        if _documented(before, group_id) != documented:
            return documented
    return Address.model_validate(used.address)


def at_current_addresses(session: Session, order: Order) -> Order:
    """The order as `address_of` says where each of its ship groups goes now."""
    moved = set(session.execute(_MOVED, {"order_id": order.order_id}).scalars())
    if not moved:
        return order
    groups = tuple(
        group.model_copy(update={"address": address_of(session, order.order_id, group.id)})
        if group.id in moved
        else group
        for group in order.ship_groups
    )
    return order.model_copy(update={"ship_groups": groups})


def _version_before(session: Session, order: Order) -> int:
    place = {"order_id": order.order_id, "version": order.version}
    return int(session.execute(_BEFORE, place).scalar_one())


def _documented(order: Order, group_id: str) -> Address | None:
    try:
        return order.group(group_id).address
    except KeyError:
        raise UnknownReferenceError(
            f"order '{order.order_id}' has no ship group '{group_id}'"
        ) from None
