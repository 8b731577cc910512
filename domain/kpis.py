"""Measures over finished orders, as FIELD.md's table of measures defines them.

Every function takes the facts of some orders and returns None when nothing is there to measure.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from domain.values import Count, Id, Model, UtcTime

_SECONDS_PER_HOUR = 3_600


class LineOutcome(Model):
    """What became of one order line, in base units."""

    ordered: Count
    delivered: Count = 0
    assigned_nodes: Count = 1
    """How often a node was given the line (routing attempts)."""
    rejected_by_nodes: Count = 0


class OrderOutcome(Model):
    """What became of one order."""

    order_id: Id
    placed_at: UtcTime
    shipped_at: UtcTime | None = None
    """When its last package left."""
    delivered_at: UtcTime | None = None
    """When its last package arrived."""
    promised_deliver_by: UtcTime | None = None
    lines: tuple[LineOutcome, ...]
    packages: Count = 0
    packages_over_sla: Count = 0
    """Packages that left after their ship-by time."""
    damaged: bool = False
    documents_right: bool = True
    cancelled_for_supply: bool = False
    backordered: bool = False


Orders = Sequence[OrderOutcome]


def _share(true_cases: int, cases: int) -> float | None:
    return true_cases / cases if cases else None


def _is_complete(line: LineOutcome) -> bool:
    return line.delivered >= line.ordered


def in_full(order: OrderOutcome) -> bool:
    """Every line delivered complete."""
    return all(_is_complete(line) for line in order.lines)


def on_time(order: OrderOutcome) -> bool:
    """Delivered by the promise; an order without a promise is on time once delivered."""
    if order.delivered_at is None:
        return False
    return order.promised_deliver_by is None or order.delivered_at <= order.promised_deliver_by


def order_fill_rate(orders: Orders) -> float | None:
    """Fill rate (order): complete orders / orders."""
    return _share(sum(in_full(order) for order in orders), len(orders))


def line_fill_rate(orders: Orders) -> float | None:
    """Fill rate (line): complete lines / lines."""
    lines = [line for order in orders for line in order.lines]
    return _share(sum(_is_complete(line) for line in lines), len(lines))


def unit_fill_rate(orders: Orders) -> float | None:
    """Fill rate (unit): delivered units / ordered units."""
    lines = [line for order in orders for line in order.lines]
    return _share(sum(x.delivered for x in lines), sum(x.ordered for x in lines))


def perfect_order_rate(orders: Orders) -> float | None:
    """Perfect order: on time, in full, undamaged, with the right documents."""
    perfect = sum(on_time(x) and in_full(x) and not x.damaged and x.documents_right for x in orders)
    return _share(perfect, len(orders))


def on_time_in_full_rate(orders: Orders) -> float | None:
    """OTIF: on time and in full."""
    return _share(sum(on_time(x) and in_full(x) for x in orders), len(orders))


def split_rate(orders: Orders) -> float | None:
    """Split rate: orders with more than one shipment / orders that shipped."""
    shipped = [order for order in orders if order.packages]
    return _share(sum(order.packages > 1 for order in shipped), len(shipped))


def packages_per_order(orders: Orders) -> float | None:
    """Packages per order: shipments / orders that shipped."""
    shipped = [order.packages for order in orders if order.packages]
    return _share(sum(shipped), len(shipped))


def cancel_rate(orders: Orders) -> float | None:
    """Cancel rate: orders cancelled for supply or routing / orders."""
    return _share(sum(order.cancelled_for_supply for order in orders), len(orders))


def backorder_rate(orders: Orders) -> float | None:
    """Backorder rate: orders that were ever backordered / orders."""
    return _share(sum(order.backordered for order in orders), len(orders))


def node_rejection_rate(orders: Orders) -> float | None:
    """Node rejection rate: rejected lines / assigned lines."""
    lines = [line for order in orders for line in order.lines]
    return _share(sum(x.rejected_by_nodes for x in lines), sum(x.assigned_nodes for x in lines))


def reroute_depth(orders: Orders) -> float | None:
    """Re-route depth: routing attempts per line."""
    lines = [line for order in orders for line in order.lines]
    return _share(sum(line.assigned_nodes for line in lines), len(lines))


def hours_to_ship(orders: Orders) -> float | None:
    """Cycle time: mean hours from order to the last package leaving, over orders that shipped."""
    return _mean_hours((x.placed_at, x.shipped_at) for x in orders)


def hours_to_deliver(orders: Orders) -> float | None:
    """Cycle time: mean hours from order to the last delivery, over orders delivered."""
    return _mean_hours((x.placed_at, x.delivered_at) for x in orders)


def over_sla_rate(orders: Orders) -> float | None:
    """Over SLA: shipments past their window / shipments."""
    return _share(sum(x.packages_over_sla for x in orders), sum(x.packages for x in orders))


def promise_accuracy_hours(orders: Orders) -> float | None:
    """Promise accuracy: mean of delivered - promised in hours; below 0 is early."""
    return _mean_hours((x.promised_deliver_by, x.delivered_at) for x in orders)


def _mean_hours(spans: Iterable[tuple[datetime | None, datetime | None]]) -> float | None:
    seconds = [
        (end - start).total_seconds()
        for start, end in spans
        if start is not None and end is not None
    ]
    return sum(seconds) / len(seconds) / _SECONDS_PER_HOUR if seconds else None
