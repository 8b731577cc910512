"""All facts a routing decision looks at, read in a few statements."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from domain.routing.decision import CapacityLeft, Snapshot
from store.columns import query
from store.inventory import availability, inbound
from store.network import KnownNetwork, known_network, known_products

_CAPACITY = query(
    "SELECT node_id, work_date, units_used, orders_used FROM capacity"
    " WHERE work_date >= :work_date ORDER BY node_id, work_date",
    "capacity",
)
_VERSION = query("SELECT max(id) AS id FROM ledger", "ledger")
_WESTERNMOST = timedelta(hours=12)
_MOST_KEPT = 100_000

# From one order to the next nearly all rows are the same: making a model of each costs more than
# everything else here. Threads may overwrite each other's entries; each entry is right by itself.
_capacity_left: dict[tuple[str, str, int, int], CapacityLeft] = {}


def build_snapshot(session: Session, skus: Iterable[str], now: datetime) -> Snapshot:
    """What is true at this moment of these SKUs: stock, capacity, inbound supply, network.

    Capacity rows are those of nodes' work dates from today on that are used already.
    """
    wanted = set(skus)
    known = known_network(session)
    return Snapshot(
        availability=availability(session, wanted),
        nodes=known.nodes,
        services=known.services,
        products=known_products(session, wanted, known.version),
        capacity=_capacity(session, known, now),
        inbound=inbound(session, wanted),
        exchange_rates=known.exchange_rates,
        base_currency=known.base_currency,
        network_version=known.version,
        availability_version=str(session.execute(_VERSION).scalar_one() or 0),
    )


def _capacity(session: Session, known: KnownNetwork, now: datetime) -> tuple[CapacityLeft, ...]:
    # The earliest date it still is anywhere, so that no node's "today" is left out.
    today = (now - _WESTERNMOST).date().isoformat()
    if len(_capacity_left) > _MOST_KEPT:
        _capacity_left.clear()
    left: list[CapacityLeft] = []
    for node_id, work_date, units_used, orders_used in session.execute(
        _CAPACITY, {"work_date": today}
    ).all():
        units, orders = known.daily_limits[node_id]
        place = (node_id, work_date, units - units_used, orders - orders_used)
        row = _capacity_left.get(place)
        if row is None:
            row = CapacityLeft(
                node_id=node_id, work_date=work_date, units=place[2], orders=place[3]
            )
            _capacity_left[place] = row
        left.append(row)
    return tuple(left)
