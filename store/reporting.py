"""Totals for summaries, and whether the books agree with one another."""

from typing import Any

from sqlalchemy.orm import Session

from store.columns import statement
from store.inventory import oversold, unexplained
from store.order_pages import orders_by_stage
from store.order_progress import units_by_place

_FULFILLMENTS = statement("SELECT status, count(*) AS n FROM fulfillments GROUP BY status")
_PACKAGES = statement("SELECT count(*) FROM packages WHERE tracking_number IS NOT NULL")
_BY_NODE = statement(
    "SELECT n.node_id, COALESCE(f.fulfillments, 0) AS fulfillments, COALESCE(f.still_open, 0)"
    " AS open_fulfillments, COALESCE(p.usable, 0) AS usable,"
    " COALESCE(p.spoken_for, 0) AS spoken_for FROM nodes n LEFT JOIN (SELECT node_id, count(*) AS"
    " fulfillments,"
    " sum(CASE WHEN closed THEN 0 ELSE 1 END) AS still_open FROM fulfillments GROUP BY node_id) f"
    " ON f.node_id = n.node_id LEFT JOIN (SELECT node_id, sum(usable) AS usable,"
    " sum(held + reserved + released + claimed) AS spoken_for FROM positions GROUP BY node_id) p"
    " ON p.node_id = n.node_id ORDER BY n.node_id"
)
_CHECKS = {
    "negative": statement(
        "SELECT count(*) FROM positions WHERE usable < 0 OR damaged < 0 OR quarantine < 0"
        " OR suspect < 0 OR held < 0 OR reserved < 0 OR released < 0 OR claimed < 0"
    ),
    # What reservations say is taken must be what the positions say, at each node for each SKU.
    "positions_unlike_reservations": statement(
        "SELECT count(*) FROM (SELECT node_id, sku FROM ("
        "SELECT node_id, sku, reserved + claimed AS taken, released FROM positions UNION ALL"
        " SELECT node_id, sku, -reserved, -released FROM reservations WHERE counted) AS sides"
        " GROUP BY node_id, sku HAVING sum(taken) <> 0 OR sum(released) <> 0) AS astray"
    ),
    "positions_unlike_holds": statement(
        "SELECT count(*) FROM (SELECT node_id, sku FROM ("
        "SELECT node_id, sku, held FROM positions UNION ALL"
        " SELECT node_id, sku, -quantity FROM hold_lines WHERE counted) AS sides"
        " GROUP BY node_id, sku HAVING sum(held) <> 0) AS astray"
    ),
    "positions_unlike_protections": statement(
        "SELECT count(*) FROM (SELECT node_id, sku FROM ("
        "SELECT node_id, sku, protected FROM positions UNION ALL"
        " SELECT node_id, sku, -quantity FROM protections) AS sides"
        " GROUP BY node_id, sku HAVING sum(protected) <> 0) AS astray"
    ),
    # What a node did not find, or found damaged, it has worked on: that is not given back.
    "capacity_unlike_reservations": statement(
        "SELECT count(*) FROM (SELECT node_id FROM ("
        "SELECT node_id, units_used AS units FROM capacity UNION ALL"
        " SELECT node_id, freed - quantity FROM reservations WHERE work_date IS NOT NULL UNION ALL"
        " SELECT node_id, delta FROM ledger WHERE kind = 'set_aside' AND bucket = 'released'"
        ") AS sides GROUP BY node_id HAVING sum(units) <> 0) AS astray"
    ),
    "open_reservations_of_closed_orders": statement(
        "SELECT count(*) FROM reservations r JOIN orders o ON o.order_id = r.order_id"
        " WHERE o.closed AND r.reserved + r.released > 0"
    ),
    "backorders_of_closed_orders": statement(
        "SELECT count(*) FROM backorders b JOIN orders o ON o.order_id = b.order_id WHERE o.closed"
    ),
    "orders_never_started": statement(
        "SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT 1 FROM messages m"
        " WHERE m.key = 'start/' || o.order_id)"
    ),
}


def summary(session: Session) -> dict[str, Any]:
    """Orders by stage, fulfillments by status, units of all lines by place, labels bought."""
    return {
        "orders_by_stage": orders_by_stage(session),
        "fulfillments_by_status": {row.status: row.n for row in session.execute(_FULFILLMENTS)},
        "units": units_by_place(session),
        "labels": _number(session, _PACKAGES),
    }


def by_node(session: Session) -> list[dict[str, Any]]:
    """Per node: its fulfillments, how many are open, and its stock's units; by node id."""
    return [
        {str(name): value if name == "node_id" else int(value) for name, value in row.items()}
        for row in session.execute(_BY_NODE).mappings()
    ]


def consistency(session: Session) -> dict[str, int]:
    """Contradictions in the books, by kind; every number is 0 when all is well.

    `oversold_units` alone may also mean that a count found fewer units than orders have.
    """
    return {
        "oversold_units": sum(place.spoken_for - place.usable for place in oversold(session)),
        "unexplained": len(unexplained(session)),
        **{name: _number(session, sql) for name, sql in _CHECKS.items()},
    }


def _number(session: Session, sql: Any) -> int:
    return int(session.execute(sql).scalar_one())
