"""A simulation decides what the orders' own workflows would decide, and leaves the same stock."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from activities.kernel import decide_for, keep_decision, reserve_key
from config.samples import load_sample
from domain.orders import Order
from domain.planning import Wanted
from domain.routing.decision import PlannedShipment, Purpose
from domain.routing_simulation import Simulation, by_policy
from starter.commands.preparation import load_sample_into
from starter.simulation.asked import Asked
from starter.simulation.beginning import start_of
from starter.simulation.inputs import OrderReader
from starter.simulation.sources import from_store
from store import inventory, order_intake, policies, reservations
from store.engine import reading, transaction
from store.stock_history import PlacedOrder

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
CITIES = (("NJ", 40.7, -74.2), ("TX", 32.8, -96.8), ("NV", 39.5, -119.8), ("WA", 47.6, -122.3))
RULES = {"name": "tight", "shipment_cost": "1.50", "kind_cost": {"store": "2.00"}}


def orders() -> list[Order]:
    """Large orders of few products, so that nodes sell out and days fill up."""
    chance = random.Random(5)  # noqa: S311 (repeatable cases, no secret)
    found = []
    for number in range(30):
        region, latitude, longitude = chance.choice(CITIES)
        address = {"country": "US", "region": region, "latitude": latitude, "longitude": longitude}
        skus = chance.sample(["MONITOR-27", "BOOT-HIKING-43", "LAMP-DESK", "BLANKET-WOOL"], 2)
        document: dict[str, Any] = {
            "order_id": f"W-{number:02}",
            "source": "shop",
            "external_id": f"{number}",
            "currency": "USD",
            "placed_at": BEGIN + timedelta(hours=5 * number),
            "ship_groups": [{"id": "1", "address": address}],
            "lines": [
                {"line_id": str(n), "sku": sku, "quantity": chance.randint(1, 60)}
                for n, sku in enumerate(skus)
            ],
        }
        found.append(Order.model_validate(document))
    return found


def routed(engine: Engine, order: Order, version: str) -> tuple[PlannedShipment, ...]:
    """Decide and reserve the order as its workflow does."""
    now = order.placed_at
    wanted = Wanted(
        request_id=f"{order.order_id}-d1",
        purpose=Purpose.ROUTE,
        units={line.line_id: line.quantity for line in order.lines},
    )
    with transaction(engine) as session:
        order_intake.accept_order(
            session, order, content_hash=order.order_id, entered_by="shop", now=now
        )
    with transaction(engine) as session:
        decided = decide_for(session, order, wanted, version, now)
        plan = keep_decision(session, decided, 1, now)
        if plan.fulfillments:
            reservations.reserve_plan(
                session, order.order_id, plan, key=reserve_key(order.order_id, plan), now=now
            )
    option = decided.decision.plan
    assert option is not None
    return option.shipments


def test_simulated_orders_get_the_plans_that_real_ones_get(engine: Engine) -> None:
    # given
    with transaction(engine) as session:
        load_sample_into(session, load_sample(), BEGIN - timedelta(days=1))
        version = policies.publish(session, "routing", RULES, BEGIN)
    with reading(engine) as session:
        policy = policies.routing_policy(session, version)
    source = from_store(engine)
    given = orders()
    reader = OrderReader(source)
    asked = reader.simulated(reader.placed(PlacedOrder(order, None) for order in given))
    start = start_of(Asked((version,)), source, reader.products, engine, [])
    simulation = Simulation(start, by_policy(policy))

    # when
    simulated = [simulation.place(x)[-1].served.shipments for x in asked]
    real = [routed(engine, order, version) for order in given]

    # then
    assert simulated == real
    assert sum(not x for x in real) > 0
    assert sum(len(x) > 1 for x in real) > 0
    ids = [node.node_id for node in start.network.nodes]
    left = {
        sku: {ids[n]: units for n, units in zip(x.nodes.tolist(), x.units.tolist(), strict=True)}
        for sku, x in simulation.world.stock.items()
    }
    with reading(engine) as session:
        assert left == inventory.availability(session, left)
