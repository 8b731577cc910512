"""What of the units on their way may be promised: what arrives is not offered twice.

The arithmetic is that of `domain.supply`, so that an offer's date and `doms inventory show` say the
same: arriving units make up for what their node owes, then serve orders that wait, then fill what
is kept for channels; only the rest is there for everyone.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from domain.routing.decision import InboundSupply
from domain.supply import Block, DatedSupply, NodeAtp, NodeStock, SupplyType, atp
from store.columns import ByPairs, query, statement
from store.ledger import SELLABLE
from store.protection import in_order, protections_at
from store.stock_rules import rules_in_force

_SUPPLY = (
    "SELECT supply_id, node_id, sku, quantity, due, supply_type, condition FROM supply"
    " WHERE quantity > 0 AND condition = 'usable'"
)
_SOONEST = "ORDER BY due, node_id, sku, supply_id"
_ALL_SUPPLY = query(f"{_SUPPLY} {_SOONEST}", "supply")
_SUPPLY_OF = query(f"{_SUPPLY} AND sku IN :skus {_SOONEST}", "supply", lists=["skus"])
_WAITING = statement(
    "SELECT sku, sum(quantity) FROM backorders WHERE quantity > 0 GROUP BY sku", "backorders"
)
_WAITING_OF = statement(
    "SELECT sku, sum(quantity) FROM backorders WHERE quantity > 0 AND sku IN :skus GROUP BY sku",
    "backorders",
    lists=["skus"],
)
_OWED = ByPairs(
    f"t.node_id, t.sku, {SELLABLE} AS ats",
    "positions",
    f"WHERE {SELLABLE} < 0",
)


class Inbound(NamedTuple):
    """Units of one SKU on their way, and all that they are wanted for before they can be sold."""

    supplies: tuple[DatedSupply, ...]
    """Soonest first."""
    stock: tuple[NodeStock, ...] = ()
    """Nodes of those that owe something or keep units for channels."""
    waiting: int = 0
    """Units that orders wait for."""
    promisable: tuple[SupplyType, ...] = tuple(SupplyType)

    @property
    def node_ids(self) -> set[str]:
        """The nodes where units are due."""
        return {supply.node_id for supply in self.supplies}

    def offered(
        self, sku: str, channel: str, blocks: Sequence[Block], now: datetime
    ) -> tuple[InboundSupply, ...]:
        """What the channel may be promised of them, and from when; soonest first."""
        found = atp(
            sku,
            self.stock,
            self.supplies,
            now=now,
            backordered=self.waiting,
            channel=channel,
            blocks=blocks,
            promisable=self.promisable,
        )
        rows = [row for node in found.nodes for row in _gains(node, sku, channel)]
        return tuple(sorted(rows, key=lambda x: (x.due, x.node_id)))


def read_inbound(connection: Connection, skus: Iterable[str] | None = None) -> dict[str, Inbound]:
    """Units on their way of these SKUs, or of all; SKUs without any are left out."""
    wanted = None if skus is None else {"skus": sorted(skus)}
    sql = _ALL_SUPPLY if wanted is None else _SUPPLY_OF
    supplies: dict[str, list[DatedSupply]] = {}
    for row in connection.execute(sql, wanted).mappings():
        supplies.setdefault(row["sku"], []).append(DatedSupply.model_validate(dict(row)))
    if not supplies:
        return {}
    counting = _WAITING if wanted is None else _WAITING_OF
    waiting = {sku: int(units) for sku, units in connection.execute(counting, wanted)}
    pairs = {(row.node_id, row.sku) for rows in supplies.values() for row in rows}
    with Session(bind=connection) as session:
        rules = rules_in_force(session)
        owed = {(row.node_id, row.sku): row.ats for row in _OWED.rows(session, pairs)}
        kept = protections_at(session, pairs)
    channels = () if rules is None else rules.rules.channels
    promisable = tuple(SupplyType) if rules is None else tuple(rules.rules.promisable)
    stock: dict[str, list[NodeStock]] = {}
    for node_id, sku in sorted(owed.keys() | kept.keys()):
        place = (node_id, sku)
        one = NodeStock(
            node_id=node_id,
            sellable=owed.get(place, 0),
            kept=in_order(kept.get(place, {}), channels),
        )
        stock.setdefault(sku, []).append(one)
    return {
        sku: Inbound(tuple(rows), tuple(stock.get(sku, ())), waiting.get(sku, 0), promisable)
        for sku, rows in supplies.items()
    }


def _gains(node: NodeAtp, sku: str, channel: str) -> Iterable[InboundSupply]:
    """How much more each arrival lets the node promise."""
    there = node.now
    for arrival in node.arrivals:
        if arrival.promisable_at is None:
            continue
        more = max(0, there + arrival.gain(channel)) - max(0, there)
        there += arrival.gain(channel)
        if more:
            yield InboundSupply(
                node_id=node.node_id, sku=sku, quantity=more, due=arrival.promisable_at
            )
