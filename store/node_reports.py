"""Fulfillments whose nodes' systems are asked for news."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from store.columns import query

_OPEN = query(
    "SELECT fulfillment_id, node_id, status FROM fulfillments WHERE closed = :closed"
    " AND node_id IN :node_ids AND fulfillment_id > :after"
    " ORDER BY fulfillment_id LIMIT :most",
    "fulfillments",
    lists=["node_ids"],
)
_THESE = query(
    "SELECT fulfillment_id, node_id, status FROM fulfillments WHERE closed = :closed"
    " AND node_id IN :node_ids AND fulfillment_id IN :fulfillment_ids ORDER BY fulfillment_id",
    "fulfillments",
    lists=["node_ids", "fulfillment_ids"],
)


class OpenWork(NamedTuple):
    """A fulfillment that its node has not ended."""

    fulfillment_id: str
    node_id: str
    status: str


def open_work(session: Session, node_ids: Sequence[str], after: str, most: int) -> list[OpenWork]:
    """The next open fulfillments of these nodes after that id, in its order."""
    asked = {"closed": False, "node_ids": list(node_ids), "after": after, "most": most}
    return [OpenWork(*row) for row in session.execute(_OPEN, asked).all()]


def open_among(
    session: Session, node_ids: Sequence[str], fulfillment_ids: Sequence[str]
) -> list[OpenWork]:
    """Those of these fulfillments that are open at these nodes."""
    asked = {
        "closed": False,
        "node_ids": list(node_ids),
        "fulfillment_ids": list(fulfillment_ids),
    }
    return [OpenWork(*row) for row in session.execute(_THESE, asked).all()]
