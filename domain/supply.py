"""What can be promised of a SKU by a date (ATP): stock there now, and dated supply on its way.

Arriving units go, in this order, to what their node owes (a count found too few, or safety stock
is not full), to orders that wait, to what the node keeps for channels, and then to everyone. That
is what the store does when units arrive, so what is promised here is what will be there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from domain.catalogue import KitComponent
from domain.values import Count, Id, Model, Quantity, Text, UtcTime


class SupplyType(StrEnum):
    """How sure units are: they lie there, are ordered, under way, or only planned."""

    ON_HAND = "on_hand"
    PURCHASE_ORDER = "purchase_order"
    IN_TRANSIT = "in_transit"
    PLANNED = "planned"


class DatedSupply(Model):
    """Units due at a node under a purchase order, transfer or production order."""

    supply_id: Id
    node_id: Id
    sku: Id
    quantity: Quantity
    due: UtcTime
    supply_type: SupplyType = SupplyType.PURCHASE_ORDER
    condition: Text = "usable"
    """In what condition they will come (a return may come damaged); only usable ones are sold."""


class Block(Model):
    """A node whose units are not promised (of one SKU, or all) until then; None: until lifted."""

    node_id: Id
    sku: Id | None = None
    until: UtcTime | None = None
    reason: Text

    def concerns(self, node_id: str, sku: str) -> bool:
        """Whether it stands against that SKU at that node."""
        return self.node_id == node_id and self.sku in {None, sku}


class Kept(Model):
    """Units a node keeps for a channel now, and how many it wants to keep."""

    quantity: Count
    level: Count


class NodeStock(Model):
    """A node's sellable units (ATS, below zero when it owes), and what it keeps for channels."""

    node_id: Id
    sellable: int
    kept: dict[Id, Kept] = Field(default_factory=dict)
    """By channel, in the order they are filled."""


class Arrival(Model):
    """A dated supply, from when it can be promised, and where its units go.

    `promisable_at` is None when they are not promised; then `reason` says why.
    """

    supply: DatedSupply
    promisable_at: UtcTime | None = None
    reason: Text = ""
    to_debt: Count = 0
    to_backorders: Count = 0
    to_channels: dict[Id, Count] = Field(default_factory=dict)
    open: Count = 0

    def gain(self, channel: str) -> int:
        """What the arrival adds to what that channel may be promised."""
        return self.to_debt + self.to_channels.get(channel, 0) + self.open


class NodeAtp(Model):
    """What one node can promise, and why.

    `now` counts what lies there and the channel's own protection (`own`); it is below zero when
    the node owes. `from_time` is when that may be promised; None: never, for `reason`.
    """

    node_id: Id
    now: int
    own: Count = 0
    from_time: UtcTime | None
    reason: Text = ""
    arrivals: tuple[Arrival, ...] = ()


class Atp(Model):
    """What a network can promise of a SKU to one channel ("" is no channel's own), by date.

    `unlimited_from` is set for products that are made or bought without counting.
    """

    sku: Id
    channel: Text = ""
    nodes: tuple[NodeAtp, ...]
    backordered: Count = 0
    """Units that orders wait for."""
    unlimited_from: UtcTime | None = None

    def at_node(self, node_id: str, by: datetime) -> int:
        """Units that node can promise by then."""
        for node in self.nodes:
            if node.node_id == node_id:
                return _units(node, self.channel, by)
        return 0

    def by(self, by: datetime, nodes: Iterable[str] | None = None) -> int:
        """Units the network, or those nodes of it, can promise by then; counted ones only."""
        wanted = None if nodes is None else set(nodes)
        return sum(
            _units(node, self.channel, by)
            for node in self.nodes
            if wanted is None or node.node_id in wanted
        )

    def dates(self) -> tuple[datetime, ...]:
        """The times at which more can be promised, soonest first."""
        times = {arrival.promisable_at for node in self.nodes for arrival in node.arrivals}
        times |= {node.from_time for node in self.nodes}
        return tuple(sorted(time for time in times if time is not None))


def atp(
    sku: str,
    stock: Iterable[NodeStock],
    supplies: Iterable[DatedSupply],
    *,
    now: datetime,
    backordered: int = 0,
    channel: str = "",
    blocks: Sequence[Block] = (),
    promisable: Iterable[SupplyType] = tuple(SupplyType),
    unlimited_from: datetime | None = None,
) -> Atp:
    """What can be promised of one SKU by any date.

    `supplies` are those of the SKU. Overdue ones (due at or before `now` and not here) promise
    nothing: their new date is not known. `backordered` units wait and are served first, wherever
    they arrive.
    """
    by_node = {place.node_id: place for place in stock}
    coming = list(supplies)
    for supply in coming:
        by_node.setdefault(supply.node_id, NodeStock(node_id=supply.node_id, sellable=0))
    allowed = set(promisable)
    starts = {node_id: _start(node_id, sku, blocks, now) for node_id in by_node}
    dated = [_dated(supply, starts[supply.node_id], allowed, now) for supply in coming]
    arrivals = _netted(dated, by_node, backordered)
    return Atp(
        sku=sku,
        channel=channel,
        nodes=tuple(
            _node_atp(place, channel, starts[node_id], arrivals.get(node_id, ()))
            for node_id, place in sorted(by_node.items())
        ),
        backordered=backordered,
        unlimited_from=unlimited_from,
    )


def kit_units(components: Sequence[KitComponent], units: Mapping[str, int | None]) -> int | None:
    """Kits that these units of the components make; None when no component is counted.

    `units`: SKU -> units that can be promised, None where without limit, 0 where left out.
    """
    made = [
        there // component.quantity
        for component in components
        if (there := units.get(component.sku, 0)) is not None
    ]
    return min(made) if made else None


def _units(node: NodeAtp, channel: str, by: datetime) -> int:
    if node.from_time is None or by < node.from_time:
        return 0
    came = sum(
        arrival.gain(channel)
        for arrival in node.arrivals
        if arrival.promisable_at is not None and arrival.promisable_at <= by
    )
    return max(0, node.now + came)


def _start(
    node_id: str, sku: str, blocks: Sequence[Block], now: datetime
) -> tuple[datetime | None, str]:
    """From when the node's units are promised, None: never; and what stands against it."""
    start: datetime | None = now
    reason = ""
    for block in blocks:
        if start is None or not block.concerns(node_id, sku):
            continue
        if block.until is None or block.until > start:
            start, reason = block.until, block.reason
    return start, reason


def _dated(
    supply: DatedSupply,
    start: tuple[datetime | None, str],
    promisable: set[SupplyType],
    now: datetime,
) -> Arrival:
    node_start, reason = start
    if supply.condition != "usable":
        return Arrival(supply=supply, reason=f"comes {supply.condition}")
    if supply.supply_type not in promisable:
        return Arrival(supply=supply, reason=f"{supply.supply_type} supply is not promised")
    if supply.due <= now:
        return Arrival(supply=supply, reason="overdue")
    if node_start is None:
        return Arrival(supply=supply, reason=reason)
    return Arrival(supply=supply, promisable_at=max(supply.due, node_start))


def _netted(
    dated: Sequence[Arrival], by_node: Mapping[str, NodeStock], backordered: int
) -> dict[str, list[Arrival]]:
    """Node id -> its arrivals, each with what becomes of its units; soonest first."""
    debts = {node_id: max(0, -place.sellable) for node_id, place in by_node.items()}
    missing = {
        node_id: {name: max(0, kept.level - kept.quantity) for name, kept in place.kept.items()}
        for node_id, place in by_node.items()
    }
    waiting = backordered
    found: dict[str, list[Arrival]] = {}
    for arrival in sorted(dated, key=_order):
        node_id = arrival.supply.node_id
        netted = arrival
        if arrival.promisable_at is not None:
            netted = _split(arrival, debts[node_id], waiting, missing[node_id])
            debts[node_id] -= netted.to_debt
            waiting -= netted.to_backorders
            for channel, units in netted.to_channels.items():
                missing[node_id][channel] -= units
        found.setdefault(node_id, []).append(netted)
    return found


def _order(arrival: Arrival) -> tuple[bool, datetime, str, str]:
    supply = arrival.supply
    time = arrival.promisable_at
    return time is None, time or supply.due, supply.node_id, supply.supply_id


def _split(arrival: Arrival, debt: int, waiting: int, missing: Mapping[str, int]) -> Arrival:
    left = arrival.supply.quantity
    to_debt = min(left, debt)
    left -= to_debt
    to_backorders = min(left, waiting)
    left -= to_backorders
    to_channels: dict[str, int] = {}
    for channel, units in missing.items():
        given = min(left, units)
        left -= given
        if given:
            to_channels[channel] = given
    return arrival.model_copy(
        update={
            "to_debt": to_debt,
            "to_backorders": to_backorders,
            "to_channels": to_channels,
            "open": left,
        }
    )


def _node_atp(
    place: NodeStock,
    channel: str,
    start: tuple[datetime | None, str],
    arrivals: Sequence[Arrival],
) -> NodeAtp:
    own = place.kept[channel].quantity if channel in place.kept else 0
    from_time, reason = start
    return NodeAtp(
        node_id=place.node_id,
        now=place.sellable + own,
        own=own,
        from_time=from_time,
        reason=reason,
        arrivals=tuple(arrivals),
    )
