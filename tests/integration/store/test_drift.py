"""What was promised to an order, and how far its plan is from it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from domain.drift import Drift
from domain.network import NodeKind, Place
from domain.orders import Order, ServiceLevel
from domain.planning import Wanted, decision_request
from domain.routing.decision import Decision, Exclusion, Option, Purpose
from domain.routing.facts import snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_on
from store import decisions, drift, inventory, network, order_intake
from store.engine import reading, transaction
from store.snapshot import build_facts
from store.timeline import timeline
from tests.integration.store.builders import NOW, PRODUCTS, a_network, a_node, an_order

POLICY = RoutingPolicy(name="p")


@pytest.fixture
def world(engine: Engine) -> Engine:
    """A near and cheap node, a far and slow one, and a store."""
    near = a_node("NEAR", cost_per_order=Decimal(1))
    far = a_node(
        "FAR",
        cost_per_order=Decimal(9),
        processing_minutes=3 * 24 * 60,
        place=Place(country="US", region="NY"),
    )
    shop = a_node("SHOP", kind=NodeKind.STORE, offers_pickup=True)
    with transaction(engine) as session:
        network.import_network(session, a_network(near, far, shop), PRODUCTS, NOW)
        for node_id in ("NEAR", "FAR"):
            inventory.receive(session, node_id, "X", 5, key=node_id, now=NOW)
    return engine


def decided(
    engine: Engine, order: Order, decision_id: str, purpose: Purpose, *exclusions: Exclusion
) -> Decision:
    """Decide about the whole order now, and keep that under the id."""
    with reading(engine) as session:
        facts = build_facts(session, ["X"], NOW)
    wanted = Wanted(
        request_id=decision_id,
        purpose=purpose,
        units={line.line_id: line.quantity for line in order.lines},
        exclusions=exclusions,
    )
    request = decision_request(order, wanted, NOW, "USD", {})
    decision = decide_on(request, facts, POLICY)
    with transaction(engine) as session:
        snapshot = snapshot_of(facts, request)
        decisions.save_decision(
            session, decision_id, None, request, snapshot, POLICY, decision, NOW
        )
    return decision


def plan_of(decision: Decision) -> Option:
    assert decision.plan is not None
    return decision.plan


def compared(
    engine: Engine, order: Order, decision: Decision, plan_version: int = 1
) -> Drift | None:
    with transaction(engine) as session:
        return drift.keep_drift(
            session, order, decision.request_id, plan_version, plan_of(decision), NOW
        )


def kept(engine: Engine, order_id: str = "W-1") -> drift.OrderDrift | None:
    with reading(engine) as session:
        return drift.drift_of(session, order_id)


NOT_NEAR = Exclusion(node_id="NEAR", reason="refused")


def test_when_nothing_changed_the_plan_is_what_was_promised(world: Engine) -> None:
    order = an_order(promise_id="promise-1")
    decided(world, order, "promise-1", Purpose.CHECKOUT)

    found = compared(world, order, decided(world, order, "W-1-d1", Purpose.ROUTE))

    assert found == Drift()
    row = kept(world)
    assert row is not None
    assert (row.promised_in, row.routed_in, row.first, row.now) == (
        "promise-1",
        "W-1-d1",
        Drift(),
        Drift(),
    )


def test_a_worse_plan_is_measured_and_told(world: Engine) -> None:
    order = an_order(promise_id="promise-1")
    promised = plan_of(decided(world, order, "promise-1", Purpose.CHECKOUT))
    routed = decided(world, order, "W-1-d1", Purpose.ROUTE, NOT_NEAR)

    found = compared(world, order, routed)

    plan = plan_of(routed)
    assert promised.deliver_at is not None
    assert plan.deliver_at is not None
    days = (plan.deliver_at.date() - promised.deliver_at.date()).days
    assert found is not None
    assert days > 0
    assert (found.units_moved, found.delivery_days) == (2, days)
    assert found.cost_micros == plan.cost_micros - promised.cost_micros > 0
    with reading(world) as session:
        [entry] = timeline(session, "W-1")
    assert entry.kind == "later"
    dates = (plan.deliver_at.date(), promised.deliver_at.date())
    assert entry.text == f"Planned for {dates[0]}, later than the promised {dates[1]}"


def test_a_later_plan_moves_what_is_now_and_not_what_was_first(world: Engine) -> None:
    order = an_order(promise_id="promise-1")
    decided(world, order, "promise-1", Purpose.CHECKOUT)
    compared(world, order, decided(world, order, "W-1-d1", Purpose.ROUTE))
    worse = decided(world, order, "W-1-d2", Purpose.REROUTE, NOT_NEAR)

    compared(world, order, worse, plan_version=2)
    compared(world, order, worse, plan_version=2)  # an answer was lost: once more

    row = kept(world)
    assert row is not None
    assert (row.first.is_none, row.now.units_moved, row.plan_version) == (True, 2, 2)
    with reading(world) as session:
        assert [entry.key for entry in timeline(session, "W-1")] == ["later/2"]
        assert drift.report(session) == {
            "orders": 1,
            "orders_routed_unlike_promised": 0,
            "units_moved": 0,
            "orders_later_at_route": 0,
            "cost_micros": 0,
            "orders_later_now": 1,
            "days_later_now": row.now.delivery_days,
        }


def test_an_order_without_a_checkout_is_held_to_its_own_promise(world: Engine) -> None:
    order = an_order()
    decided(world, order, "W-1-p1", Purpose.ROUTE)
    assert compared(world, order, decided(world, order, "W-1-d1", Purpose.ROUTE)) == Drift()
    row = kept(world)
    assert row is not None
    assert row.promised_in == "W-1-p1"


def test_an_order_that_nobody_promised_anything_has_no_drift(world: Engine) -> None:
    order = an_order(promise_id="promise-gone")
    assert compared(world, order, decided(world, order, "W-1-d1", Purpose.ROUTE)) is None
    assert kept(world) is None


def test_a_plan_for_a_part_of_the_order_is_not_compared(world: Engine) -> None:
    order = an_order(promise_id="promise-1")
    decided(world, order, "promise-1", Purpose.CHECKOUT)
    part = an_order(lines=(("1", "X", 1),))
    assert compared(world, order, decided(world, part, "W-1-d1", Purpose.ROUTE)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": (("1", "X", 3),)},
        {"ship_groups": [{"id": "1", "address": {"country": "US"}, "service_level": "same_day"}]},
        {"ship_groups": [{"id": "1", "method": "pickup", "node_id": "SHOP"}]},
        {
            "ship_groups": [
                {"id": "1", "address": {"country": "US"}},
                {"id": "2", "address": {"country": "US"}},
            ]
        },
    ],
)
def test_an_order_that_is_not_what_was_promised_has_no_commitment(
    world: Engine, changes: dict[str, Any]
) -> None:
    decided(world, an_order(), "promise-1", Purpose.CHECKOUT)
    with reading(world) as session:
        order = an_order(promise_id="promise-1", **changes)
        assert drift.checkout_commitment(session, order) is None


def test_the_alternative_that_the_shopper_took_is_the_commitment(world: Engine) -> None:
    """The promise's second decision was the pick-up; the order's lines have other ids."""
    with transaction(world) as session:
        inventory.receive(session, "SHOP", "X", 5, key="s", now=NOW)
    decided(world, an_order(), "promise-1", Purpose.CART)
    fetched = [{"id": "1", "method": "pickup", "node_id": "SHOP"}]
    decided(world, an_order(ship_groups=fetched), "promise-1-1", Purpose.CART)
    taken = an_order(
        promise_id="promise-1",
        lines=(("a", "X", 1), ("b", "X", 1)),
        ship_groups=[{"id": "1", "method": "pickup", "node_id": "SHOP"}],
    )
    with reading(world) as session:
        found = drift.checkout_commitment(session, taken)
    assert found is not None
    assert found.decision_id == "promise-1-1"
    assert found.option.shipments[0].node_id == "SHOP"


@pytest.mark.parametrize("asked", [ServiceLevel.STANDARD, ServiceLevel.EXPRESS])
@pytest.mark.parametrize("ordered", [ServiceLevel.STANDARD, ServiceLevel.EXPRESS])
def test_an_order_is_held_to_the_date_of_the_service_it_pays_for(
    engine: Engine, asked: ServiceLevel, ordered: ServiceLevel
) -> None:
    slow = a_network().services[0].model_copy(update={"transit_days": 4})
    fast = slow.model_copy(
        update={
            "service_id": "fast",
            "level": ServiceLevel.EXPRESS,
            "base": Decimal(15),
            "transit_days": 1,
        }
    )
    near = a_node("NEAR").model_copy(update={"services": (slow.service_id, "fast")})
    both = a_network(near).model_copy(update={"services": (slow, fast)})
    with transaction(engine) as session:
        network.import_network(session, both, PRODUCTS, NOW)
        inventory.receive(session, "NEAR", "X", 5, key="near", now=NOW)

    def at_level(level: ServiceLevel) -> Order:
        order = an_order(promise_id="promise-1")
        group = order.ship_groups[0].model_copy(update={"service_level": level})
        return order.model_copy(update={"ship_groups": (group,)})

    options = decided(engine, at_level(asked), "promise-1", Purpose.CHECKOUT).options
    with reading(engine) as session:
        found = drift.checkout_commitment(session, at_level(ordered))

    dates = {option.service_level: option.deliver_at for option in options}
    assert len(set(dates.values())) == 2
    assert found is not None
    assert (found.option.service_level, found.option.deliver_at) == (ordered, dates[ordered])


def test_groups_of_a_mixed_order_are_compared_by_id(world: Engine) -> None:
    groups = [
        {"id": "send", "address": {"country": "US"}},
        {"id": "fetch", "method": "pickup", "node_id": "SHOP"},
    ]
    lines = [
        {"line_id": n, "sku": "X", "quantity": 1, "unit_price": "1", "ship_group": group}
        for n, group in (("1", "send"), ("2", "fetch"))
    ]
    with transaction(world) as session:
        inventory.receive(session, "SHOP", "X", 5, key="s", now=NOW)
    document = an_order(promise_id="promise-1").model_dump(mode="json")
    order = Order.model_validate({**document, "ship_groups": groups, "lines": lines})
    decided(world, order, "promise-1", Purpose.CART)
    with reading(world) as session:
        assert drift.checkout_commitment(session, order) is not None
        other = order.model_copy(update={"ship_groups": order.ship_groups[::-1]})
        assert drift.checkout_commitment(session, other) is not None
        renamed = order.ship_groups[0].model_copy(update={"id": "post"})
        unlike = order.model_copy(update={"ship_groups": (renamed, order.ship_groups[1])})
        assert drift.checkout_commitment(session, unlike) is None


def test_promises_nobody_took_are_forgotten_and_those_of_orders_stay(world: Engine) -> None:
    """The first order took the alternative; the second names one and is not planned yet."""
    order = an_order(promise_id="promise-a")
    for decision_id in ("promise-a", "promise-a-1", "promise-b", "promise-b-1", "promise-c"):
        decided(world, an_order(), decision_id, Purpose.CART)
    waiting = an_order("W-2", promise_id="promise-c")
    with transaction(world) as session:
        order_intake.accept_order(
            session, waiting, content_hash="2", entered_by="t", now=NOW, pins={}
        )
    compared(world, order, decided(world, order, "W-1-d1", Purpose.ROUTE))
    with transaction(world) as session:
        session.execute(text("UPDATE decisions SET order_id = 'W-1' WHERE decision_id = 'W-1-d1'"))
        session.execute(text("UPDATE promise_drift SET promised_in = 'promise-a-1'"))
    with reading(world) as session:
        early = decisions.unused(session, NOW)
        later = decisions.unused(session, NOW + timedelta(seconds=1))
        first = decisions.unused(session, NOW + timedelta(seconds=1), limit=1)
    with transaction(world) as session:
        count = decisions.forget(session, later)
    with reading(world) as session:
        left = session.execute(text("SELECT decision_id FROM decisions ORDER BY 1")).scalars().all()
    assert (early, sorted(later), len(first), count) == ([], ["promise-b", "promise-b-1"], 1, 2)
    assert left == ["W-1-d1", "promise-a", "promise-a-1", "promise-c"]
