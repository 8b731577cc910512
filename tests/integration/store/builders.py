"""Small builders for the store's tests."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from domain.catalogue import Product, SupplyMode
from domain.fulfillments import FulfillmentLine, FulfillmentOrder
from domain.inventory import Position
from domain.network import (
    CarrierService,
    Connection,
    ConnectionClass,
    Decrement,
    FeedMeaning,
    Network,
    Node,
    NodeKind,
    Place,
)
from domain.orders import Method, Order, ServiceLevel
from domain.plans import Plan, PlanLine, PlannedFulfillment
from store import inventory, network, reservations
from store.engine import reading, transaction
from store.inventory import StockCount

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DATE = "2026-03-02"


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def a_node(node_id: str, **changes: Any) -> Node:
    facts: dict[str, Any] = {
        "node_id": node_id,
        "kind": NodeKind.DC,
        "place": Place(country="US", region="CA"),
        "daily_units": 1_000,
        "daily_orders": 100,
        "services": ("ground",),
        "connection_id": "wms-1",
    }
    return Node(**{**facts, **changes})


def a_network(*nodes: Node) -> Network:
    return Network(
        base_currency="USD",
        connections=(
            Connection(connection_id="wms-1", kind=ConnectionClass.WMS, vendor="reference"),
            Connection(connection_id="parcels", kind=ConnectionClass.CARRIER, vendor="reference"),
        ),
        services=(
            CarrierService(
                service_id="ground",
                connection_id="parcels",
                carrier="Parcels",
                level=ServiceLevel.STANDARD,
                base="5.00",
            ),
        ),
        nodes=nodes,
    )


NODES = (
    a_node("A"),
    a_node("B"),
    a_node("NARROW", daily_units=5, daily_orders=2),
    a_node("NET", feed_meaning=FeedMeaning.NET),
    a_node("ATPICK", decrement=Decrement.AT_PICK),
    a_node("OFF", active=False),
)
PRODUCTS = (
    Product(sku="X"),
    Product(sku="Y"),
    Product(sku="ENDLESS", supply_mode=SupplyMode.INFINITE),
)


def a_world(engine: Engine, stock: Mapping[tuple[str, str], int] | None = None) -> None:
    """The network, and usable units of (node, SKU)."""
    with transaction(engine) as session:
        network.import_network(session, a_network(*NODES), PRODUCTS, NOW)
        for (node_id, sku), quantity in (stock or {}).items():
            inventory.receive(
                session, node_id, sku, quantity, key=f"first/{node_id}/{sku}", now=at(-60)
            )


PlanRow = tuple[str, str, str, int]
"""(node id, line id, SKU, quantity)."""


def a_plan(*rows: PlanRow, version: int = 1, work_date: str = DATE) -> Plan:
    by_node: dict[str, list[PlanLine]] = {}
    for node_id, line_id, sku, quantity in rows:
        by_node.setdefault(node_id, []).append(
            PlanLine(line_id=line_id, sku=sku, quantity=quantity)
        )
    return Plan(
        decision_id=f"D-{version}",
        plan_version=version,
        fulfillments=tuple(
            PlannedFulfillment(
                node_id=node_id,
                ship_group="1",
                method=Method.SHIP,
                service_id="ground",
                lines=tuple(lines),
                work_date=work_date,
                ship_by=at(600),
                deliver_by=at(6000),
                order_by=at(300),
            )
            for node_id, lines in by_node.items()
        ),
    )


def fulfillments_of_plan(order_id: str, plan: Plan, first: int = 1) -> list[FulfillmentOrder]:
    return [
        FulfillmentOrder(
            fulfillment_id=f"{order_id}-{number}",
            order_id=order_id,
            node_id=planned.node_id,
            ship_group=planned.ship_group,
            method=planned.method.value,
            service_id=planned.service_id,
            lines=tuple(
                FulfillmentLine(line_id=x.line_id, sku=x.sku, quantity=x.quantity)
                for x in planned.lines
            ),
        )
        for number, planned in enumerate(plan.fulfillments, start=first)
    ]


def reserve(engine: Engine, order_id: str, plan: Plan, *, key: str | None = None) -> str:
    with transaction(engine) as session:
        return reservations.reserve_plan(
            session,
            order_id,
            plan,
            key=key or f"{order_id}/reserve/{plan.plan_version}",
            now=NOW,
        )


def release(engine: Engine, order_id: str, plan: Plan, first: int = 1) -> bool:
    with transaction(engine) as session:
        return reservations.claim_release(
            session,
            order_id,
            plan.plan_version,
            fulfillments_of_plan(order_id, plan, first),
            key=f"{order_id}/release/{plan.plan_version}",
            now=NOW,
        )


def released_order(engine: Engine, order_id: str, *rows: PlanRow) -> Plan:
    plan = a_plan(*rows)
    reserve(engine, order_id, plan)
    assert release(engine, order_id, plan)
    return plan


def position(engine: Engine, node_id: str, sku: str) -> Position:
    with reading(engine) as session:
        return inventory.position(session, node_id, sku)


def filled(engine: Engine, node_id: str, sku: str) -> dict[str, int]:
    """The buckets of a position that hold anything."""
    buckets = position(engine, node_id, sku).model_dump(exclude={"node_id", "sku"})
    return {name: units for name, units in buckets.items() if units}


def positions_of(session: Session, sku: str) -> list[Position]:
    """The positions of a SKU at every node that ever had it, by node id."""
    rows = session.execute(
        text("SELECT * FROM positions WHERE sku = :sku ORDER BY node_id"), {"sku": sku}
    )
    return [Position(**row) for row in rows.mappings()]


def own_protection(session: Session, channel: str) -> dict[str, dict[str, int]]:
    """SKU -> node id -> units that only this channel may sell, beside what everyone may."""
    rows = session.execute(
        text("SELECT * FROM protections WHERE channel = :channel AND quantity > 0"),
        {"channel": channel},
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.sku, {})[row.node_id] = row.quantity
    return found


def used_capacity(session: Session, node_id: str, work_date: str) -> tuple[int, int]:
    """(units, orders) taken of a node's work date."""
    taken = session.execute(
        text(
            "SELECT units_used, orders_used FROM capacity"
            " WHERE node_id = :node_id AND work_date = :work_date"
        ),
        {"node_id": node_id, "work_date": work_date},
    ).one_or_none()
    return (0, 0) if taken is None else (taken.units_used, taken.orders_used)


def everything(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, to show that a refusal changed nothing."""
    with reading(engine) as session:
        return {
            name: sorted((tuple(row) for row in session.execute(table.select())), key=repr)
            for name, table in SQLModel.metadata.tables.items()
        }


def a_count(
    node_id: str, sku: str, quantity: int, minutes: float, condition: str = "usable"
) -> StockCount:
    return StockCount.model_validate(
        {
            "node_id": node_id,
            "sku": sku,
            "condition": condition,
            "quantity": quantity,
            "counted_at": at(minutes),
        }
    )


def an_order(
    order_id: str = "W-1", lines: Sequence[tuple[str, str, int]] = (("1", "X", 2),), **changes: Any
) -> Order:
    """An order of (line id, SKU, quantity)."""
    return Order.model_validate(
        {
            "order_id": order_id,
            "source": "shop",
            "external_id": f"ext-{order_id}",
            "currency": "USD",
            "placed_at": NOW,
            "customer": {"name": "Ada Lovelace", "email": "ada@example.com"},
            "ship_groups": [
                {
                    "id": "1",
                    "address": {"name": "Ada", "line1": "1 Main St", "city": "LA", "country": "US"},
                }
            ],
            "lines": [
                {"line_id": line_id, "sku": sku, "quantity": quantity, "unit_price": "10.00"}
                for line_id, sku, quantity in lines
            ],
            **changes,
        }
    )
