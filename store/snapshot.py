"""All facts a routing decision looks at, read in a few statements."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from domain.routing.decision import CapacityLeft, Snapshot
from store.columns import query
from store.inventory import availability, inbound
from store.network import known_network, known_products

_CAPACITY = query(
    "SELECT c.node_id, c.work_date, n.daily_units - c.units_used AS units_left,"
    " n.daily_orders - c.orders_used AS orders_left FROM capacity c"
    " JOIN nodes n ON n.node_id = c.node_id"
    " WHERE c.work_date >= :work_date ORDER BY c.node_id, c.work_date",
    "capacity",
)
_VERSION = query("SELECT max(id) AS id FROM ledger", "ledger")
_WESTERNMOST = timedelta(hours=12)


def build_snapshot(session: Session, skus: Iterable[str], now: datetime) -> Snapshot:
    """What is true at this moment of these SKUs: stock, capacity, inbound supply, network.

    Capacity rows are those of nodes' work dates from today on that are used already.
    """
    wanted = set(skus)
    known = known_network(session)
    # The earliest date it still is anywhere, so that no node's "today" is left out.
    today = (now - _WESTERNMOST).date().isoformat()
    rows = session.execute(_CAPACITY, {"work_date": today}).all()
    capacity = tuple(
        CapacityLeft.model_construct(node_id=node_id, work_date=date, units=units, orders=orders)
        for node_id, date, units, orders in rows
    )
    return Snapshot(
        availability=availability(session, wanted),
        nodes=known.nodes,
        services=known.services,
        products=known_products(session, wanted, known.version),
        capacity=capacity,
        inbound=inbound(session, wanted),
        exchange_rates=known.exchange_rates,
        base_currency=known.base_currency,
        network_version=known.version,
        availability_version=str(session.execute(_VERSION).scalar_one() or 0),
    )
