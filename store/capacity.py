"""What a node's local work date can still take; limits stand on the node."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from store.columns import statement
from store.driver import fetch, given, write
from store.engine import is_sqlite

WorkDay = tuple[str, str]
"""(node id, local work date)."""
Load = tuple[int, int]
"""(units, orders)."""

_DAY = {"node_id": "text", "work_date": "text"}
_LEFT = given(
    "SELECT w.node_id, w.work_date, n.daily_units - COALESCE(c.units_used, 0),"
    " n.daily_orders - COALESCE(c.orders_used, 0) FROM {given}"
    " CROSS JOIN nodes n LEFT JOIN capacity c"
    " ON c.node_id = n.node_id AND c.work_date = w.work_date WHERE n.node_id = w.node_id",
    _DAY,
)
_TAKE = given(
    "INSERT INTO capacity (node_id, work_date, units_used, orders_used)"
    " SELECT w.node_id, w.work_date, w.units, w.orders FROM {given}"
    " CROSS JOIN nodes n WHERE n.node_id = w.node_id"
    " AND n.daily_units >= w.units AND n.daily_orders >= w.orders"
    " ORDER BY w.node_id, w.work_date"
    " ON CONFLICT (node_id, work_date) DO UPDATE SET"
    " units_used = capacity.units_used + excluded.units_used,"
    " orders_used = capacity.orders_used + excluded.orders_used"
    " WHERE EXISTS (SELECT 1 FROM nodes WHERE nodes.node_id = excluded.node_id"
    " AND nodes.daily_units >= capacity.units_used + excluded.units_used"
    " AND nodes.daily_orders >= capacity.orders_used + excluded.orders_used)"
    " RETURNING node_id, work_date",
    {**_DAY, "units": "bigint", "orders": "bigint"},
)
_LOCK = given(
    "INSERT INTO capacity (node_id, work_date, units_used, orders_used)"
    " SELECT w.node_id, w.work_date, 0, 0 FROM {given}"
    " CROSS JOIN nodes n WHERE n.node_id = w.node_id"
    " ORDER BY w.node_id, w.work_date"
    " ON CONFLICT (node_id, work_date) DO UPDATE SET units_used = capacity.units_used",
    _DAY,
)
_GIVE_BACK = statement(
    "UPDATE capacity SET units_used = units_used - :units, orders_used = orders_used - :orders"
    " WHERE node_id = :node_id AND work_date = :work_date",
    "capacity",
)


class Room:
    """What is left of some work days while plans are decided one after the other."""

    def __init__(self, session: Session, days: Iterable[WorkDay]) -> None:
        """Read it, without keeping others from taking; `take_capacity` checks again."""
        asked = [{"node_id": node_id, "work_date": date} for node_id, date in sorted(set(days))]
        [found] = fetch(session, (_LEFT, asked))
        self._left: dict[WorkDay, Load] = {(row[0], row[1]): (row[2], row[3]) for row in found}

    def full(self, work: Mapping[WorkDay, int], back: Mapping[WorkDay, Load]) -> tuple[str, ...]:
        """The nodes that cannot take the units, and one order, were `back` given back before."""
        refused = []
        for day, quantity in sorted(work.items()):
            units, orders = self._left.get(day, (0, 0))
            units_back, orders_back = back.get(day, (0, 0))
            if quantity > units + units_back or orders + orders_back < 1:
                refused.append(day[0])
        return tuple(refused)

    def take(self, work: Mapping[WorkDay, int], back: Mapping[WorkDay, Load]) -> None:
        """Count the units and one order on each day; `full` must have been asked before."""
        loads = {day: (-units, -orders) for day, (units, orders) in back.items()}
        for day, quantity in work.items():
            units, orders = loads.get(day, (0, 0))
            loads[day] = (units + quantity, orders + 1)
        for day, (units, orders) in loads.items():
            left_units, left_orders = self._left.get(day, (0, 0))
            self._left[day] = (left_units - units, left_orders - orders)


def take_capacity(session: Session, works: Sequence[Mapping[WorkDay, int]]) -> tuple[str, ...]:
    """Take the units of each order, and one order, of every day; the nodes that refused.

    When any refuses, the caller must roll back: the others were taken.
    """
    loads: dict[WorkDay, Load] = {}
    for work in works:
        for day, quantity in work.items():
            units, orders = loads.get(day, (0, 0))
            loads[day] = (units + quantity, orders + 1)
    rows = [
        {"node_id": node_id, "work_date": date, "units": units, "orders": orders}
        for (node_id, date), (units, orders) in sorted(loads.items())
    ]
    [taken] = fetch(session, (_TAKE, rows))
    missing = loads.keys() - {(node_id, date) for node_id, date in taken}
    return tuple(node_id for node_id, _ in sorted(missing))


def give_back_capacity(
    session: Session, back: Mapping[WorkDay, Load], taking: Iterable[WorkDay] = ()
) -> None:
    """Give back (units, orders) of each (node id, work date).

    `taking` are the days that the transaction takes from afterwards: all are locked in the order
    in which `take_capacity` locks them, so two transactions never wait for each other.
    """
    rows = [
        {"node_id": node_id, "work_date": work_date, "units": units, "orders": orders}
        for (node_id, work_date), (units, orders) in sorted(back.items())
        if units or orders
    ]
    if not rows:
        return
    days = {*taking, *((row["node_id"], row["work_date"]) for row in rows)}
    if len(days) > 1 and not is_sqlite(session):
        write(session, (_LOCK, [{"node_id": node, "work_date": date} for node, date in days]))
    session.execute(_GIVE_BACK, rows)
