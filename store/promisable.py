"""What can be promised of a SKU now and by date, with every part it is made of."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field
from sqlalchemy.orm import Session

from domain.catalogue import Product, SupplyMode
from domain.errors import ConflictError, UnknownReferenceError
from domain.inventory import Position
from domain.supply import Atp, Block, NodeStock, SupplyType, atp, kit_units
from domain.values import Model
from store.columns import query
from store.exclusions import blocks_of
from store.ledger import position_of_row
from store.network import KnownNetwork, known_network, known_products
from store.protection import Kept as KeptRows
from store.protection import in_order, protections_of
from store.stock_rules import RulesInForce, rules_in_force
from store.supply import supply_of

_POSITIONS = query("SELECT * FROM positions WHERE sku = :sku ORDER BY node_id", "positions")
_WAITING = query(
    "SELECT order_id, line_id, quantity, demand_class, promise_at, since FROM backorders"
    " WHERE sku = :sku AND quantity > 0"
    " ORDER BY demand_class, CASE WHEN promise_at IS NULL THEN 1 ELSE 0 END, promise_at, since,"
    " order_id, line_id",
    "backorders",
)
_DEEPEST_KIT = 5


class Waiting(Model):
    """Units of an order's line that wait for supply."""

    order_id: str
    line_id: str
    quantity: int
    demand_class: str
    promise_at: datetime | None
    since: datetime


class SkuPromise(Model):
    """All that the figures of one SKU are made of. A kit has parts: (units in one kit, its SKU)."""

    product: Product
    atp: Atp
    positions: tuple[Position, ...] = ()
    protections: dict[str, KeptRows] = Field(default_factory=dict)
    """Node id -> channel -> (units kept, level)."""
    waiting: tuple[Waiting, ...] = ()
    blocks: tuple[Block, ...] = ()
    rules_version: str | None = None
    parts: tuple["SkuPromise", ...] = ()

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The nodes that have, expect or could make it."""
        found = {node.node_id for node in self.atp.nodes}
        for part in self.parts:
            found.update(part.node_ids)
        return tuple(sorted(found))

    def at_node(self, node_id: str, by: datetime) -> int | None:
        """Units that node can promise by then; None: without limit."""
        if self.atp.unlimited_from is not None and self.atp.unlimited_from <= by:
            return None
        there = self.atp.at_node(node_id, by)
        if not self.parts:
            return there
        units = {part.product.sku: part.at_node(node_id, by) for part in self.parts}
        made = kit_units(self.product.components, units)
        return None if made is None else there + made

    def by(self, by: datetime, nodes: Iterable[str] | None = None) -> int | None:
        """Units the network, or those nodes, can promise by then; None: without limit.

        A kit is made at one node, so its components count node by node.
        """
        if not self.parts:
            unlimited = self.atp.unlimited_from
            if unlimited is not None and unlimited <= by:
                return None
            return self.atp.by(by, nodes)
        wanted = None if nodes is None else set(nodes)
        if self.at_node("", by) is None:
            return None
        asked = [x for x in self.node_ids if wanted is None or x in wanted]
        return sum(self.at_node(node_id, by) or 0 for node_id in asked)

    def dates(self) -> tuple[datetime, ...]:
        """The times at which more can be promised, soonest first."""
        times = set(self.atp.dates())
        if self.atp.unlimited_from is not None:
            times.add(self.atp.unlimited_from)
        for part in self.parts:
            times.update(part.dates())
        return tuple(sorted(times))


def promise_of(session: Session, sku: str, now: datetime, channel: str = "") -> SkuPromise:
    """What can be promised of that SKU to that channel. Raises UnknownReferenceError."""
    question = _Question(session, known_network(session), rules_in_force(session), now, channel)
    return question.promise(sku)


def groups(session: Session) -> dict[str, frozenset[str]]:
    """Distribution group -> its nodes."""
    return known_network(session).groups


def nodes_of_group(session: Session, group_id: str) -> frozenset[str]:
    """The nodes of a distribution group. Raises UnknownReferenceError."""
    known = groups(session)
    if group_id not in known:
        raise UnknownReferenceError(f"no distribution group '{group_id}'")
    return known[group_id]


@dataclass(frozen=True)
class _Question:
    """What is asked, for whom and when, and what holds for every SKU."""

    session: Session
    known: KnownNetwork
    rules: RulesInForce | None
    now: datetime
    channel: str

    def promise(self, sku: str, depth: int = 0) -> SkuPromise:
        product = known_products(self.session, [sku], self.known.version).get(sku)
        if product is None:
            raise UnknownReferenceError(f"no product '{sku}'")
        if depth > _DEEPEST_KIT:
            raise ConflictError(f"'{sku}' is part of too many kits in one another")
        asked = {"sku": sku}
        positions = tuple(
            position_of_row(row) for row in self.session.execute(_POSITIONS, asked).mappings()
        )
        waiting = tuple(
            Waiting.model_validate(dict(row))
            for row in self.session.execute(_WAITING, asked).mappings()
        )
        supplies = supply_of(self.session, [sku])
        protections = protections_of(self.session, sku)
        at_nodes = {place.node_id for place in positions} | {row.node_id for row in supplies}
        blocks = (*blocks_of(self.session, [sku], self.now), *self._closed(at_nodes))
        return SkuPromise(
            product=product,
            atp=atp(
                sku,
                [self._stock(place, protections.get(place.node_id, {})) for place in positions],
                supplies,
                now=self.now,
                backordered=sum(row.quantity for row in waiting),
                channel=self.channel,
                blocks=blocks,
                promisable=tuple(SupplyType) if self.rules is None else self.rules.rules.promisable,
                unlimited_from=self._unlimited_from(product),
            ),
            positions=positions,
            protections=protections,
            waiting=waiting,
            blocks=blocks,
            rules_version=None if self.rules is None else self.rules.version,
            parts=tuple(self.promise(part.sku, depth + 1) for part in product.components),
        )

    def _stock(self, place: Position, kept: KeptRows) -> NodeStock:
        channels = () if self.rules is None else self.rules.rules.channels
        return NodeStock(
            node_id=place.node_id, sellable=place.sellable, kept=in_order(kept, channels)
        )

    def _closed(self, node_ids: Iterable[str]) -> Iterator[Block]:
        for node_id in sorted(node_ids):
            node = self.known.by_id.get(node_id)
            if node is None or not node.active:
                yield Block(node_id=node_id, reason="inactive")
            elif node.offline_until is not None and node.offline_until > self.now:
                yield Block(node_id=node_id, until=node.offline_until, reason="offline")

    def _unlimited_from(self, product: Product) -> datetime | None:
        if product.supply_mode is SupplyMode.INFINITE:
            return self.now
        if product.supply_mode is SupplyMode.LEAD_TIME:
            return self.now + timedelta(days=product.lead_time_days)
        return None
