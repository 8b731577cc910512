"""What a node's local work date can still take; limits stand on the node."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from store.columns import changed, query, statement

_TAKE = statement(
    "INSERT INTO capacity (node_id, work_date, units_used, orders_used)"
    " SELECT node_id, CAST(:work_date AS VARCHAR), CAST(:units AS INTEGER), 1 FROM nodes"
    " WHERE node_id = :node_id AND daily_units >= :units AND daily_orders >= 1"
    " ON CONFLICT (node_id, work_date) DO UPDATE SET"
    " units_used = capacity.units_used + excluded.units_used,"
    " orders_used = capacity.orders_used + 1"
    " WHERE EXISTS (SELECT 1 FROM nodes WHERE nodes.node_id = excluded.node_id"
    " AND nodes.daily_units >= capacity.units_used + excluded.units_used"
    " AND nodes.daily_orders >= capacity.orders_used + 1)",
    "capacity",
)
_GIVE_BACK = statement(
    "UPDATE capacity SET units_used = units_used - :units, orders_used = orders_used - :orders"
    " WHERE node_id = :node_id AND work_date = :work_date",
    "capacity",
)
_USED = query(
    "SELECT units_used, orders_used FROM capacity"
    " WHERE node_id = :node_id AND work_date = :work_date",
    "capacity",
)


def take_capacity(session: Session, units: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """Take units, and one order each, of every (node id, work date); the nodes that refused.

    When any refuses, the caller must roll back: the others were taken.
    """
    refused = []
    for (node_id, work_date), quantity in sorted(units.items()):
        row = {"node_id": node_id, "work_date": work_date, "units": quantity}
        if not changed(session, _TAKE, row):
            refused.append(node_id)
    return tuple(refused)


def give_back_capacity(session: Session, back: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Give back (units, orders) of each (node id, work date)."""
    rows = [
        {"node_id": node_id, "work_date": work_date, "units": units, "orders": orders}
        for (node_id, work_date), (units, orders) in sorted(back.items())
        if units or orders
    ]
    if rows:
        session.execute(_GIVE_BACK, rows)


def used_capacity(session: Session, node_id: str, work_date: str) -> tuple[int, int]:
    """(units, orders) already taken of a node's local work date."""
    row = session.execute(_USED, {"node_id": node_id, "work_date": work_date}).one_or_none()
    return (0, 0) if row is None else (row.units_used, row.orders_used)
