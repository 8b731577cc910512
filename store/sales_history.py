"""Units asked of each node, day by day: the demand that simulations run on."""

from collections.abc import Iterator
from datetime import date

from sqlalchemy.orm import Session

from store.columns import query

_SOLD = query(
    "SELECT f.created_at, f.node_id, l.sku, l.quantity - l.cancelled - l.returned_to_order AS units"
    " FROM fulfillments f JOIN fulfillment_lines l ON l.fulfillment_id = f.fulfillment_id"
    " ORDER BY f.created_at, f.fulfillment_id, l.line_id",
    "fulfillments",
)


def units_sold(session: Session) -> Iterator[tuple[date, str, str, int]]:
    """Day (UTC), node, SKU and units that each fulfillment was asked for and kept."""
    for row in session.execute(_SOLD).mappings():
        if row["units"] > 0:
            yield row["created_at"].date(), row["node_id"], row["sku"], row["units"]
