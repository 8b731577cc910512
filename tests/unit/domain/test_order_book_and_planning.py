from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import IllegalTransitionError
from domain.events import FulfillmentProgress, LineProgress
from domain.fulfillments import FulfillmentLine, FulfillmentOrder, FulfillmentStatus
from domain.money import NoRateError, to_base
from domain.network import Connection, ConnectionClass, Place
from domain.order_book import OrderBook
from domain.orders import Address
from domain.planning import (
    Wanted,
    bundles,
    decision_request,
    distance_km,
    group_facts,
    place_of,
    plan_of,
    region_label,
)
from domain.plans import LineFacts, PlanLine
from domain.quantities import Bucket
from domain.routing.decision import Purpose
from domain.routing.solve import decide
from tests.unit.domain.builders import (
    HERE,
    MONDAY,
    group,
    line,
    node,
    policy,
    request,
    service,
    snapshot,
)
from tests.unit.domain.test_orders import order


def book(**asked: int) -> OrderBook:
    return OrderBook.of(
        LineFacts(line_id=x, sku=x.upper(), quantity=quantity, ship_group="1")
        for x, quantity in asked.items()
    )


def fulfillment(number: int = 1, **asked: int) -> FulfillmentOrder:
    return FulfillmentOrder(
        fulfillment_id=f"W-1-{number}",
        order_id="W-1",
        node_id="N1",
        ship_group="1",
        method="ship",
        lines=tuple(
            FulfillmentLine(line_id=x, sku=x.upper(), quantity=q) for x, q in asked.items()
        ),
    )


def report(revision: int, status: str = "shipped", **units: int) -> FulfillmentProgress:
    return FulfillmentProgress(
        fulfillment_id="W-1-1",
        revision=revision,
        status=FulfillmentStatus(status),
        lines=(LineProgress(line_id="a", **units),),
        carriers=("Acme",),
    )


def released(**asked: int) -> OrderBook:
    taken = book(**asked)
    taken.move_all(
        [PlanLine(line_id=x, sku=x.upper(), quantity=q) for x, q in asked.items()],
        Bucket.OPEN,
        Bucket.RESERVED,
    )
    taken.release(fulfillment(**asked))
    return taken


def test_units_go_from_open_to_a_fulfillment_and_arrive() -> None:
    taken = released(a=3)
    assert taken.quantities("a").released == 3
    assert not taken.is_finished

    taken.apply(report(1, picked=2, shipped=1))
    now = taken.quantities("a")
    assert (now.released, now.picked, now.shipped) == (1, 1, 1)
    assert taken.held_by(taken.tracks["W-1-1"], "a") == 2

    taken.apply(report(2, "delivered", picked=3, shipped=3, delivered=3))
    assert taken.quantities("a").delivered == 3
    assert taken.tracks["W-1-1"].carriers == ("Acme",)
    assert taken.is_finished


def test_what_a_fulfillment_gives_back_is_open_again_unless_it_is_to_be_cancelled() -> None:
    taken = released(a=4)
    taken.tracks["W-1-1"].cancel_wanted["a"] = 1

    assert taken.apply(report(1, returned_to_order=3)) == {"a": 2}
    assert taken.apply(report(2, returned_to_order=3, cancelled=1)) == {}

    now = taken.quantities("a")
    assert (now.open, now.cancelled, now.released) == (2, 2, 0)
    assert taken.units(Bucket.OPEN) == {"a": 2}
    assert not taken.is_finished


def test_what_came_back_stays_when_a_reset_fulfillment_tells_of_it_later() -> None:
    taken = released(a=3)
    assert taken.apply(report(1, returned_to_order=1)) == {"a": 1}

    assert taken.apply(report(2, returned_to_order=0)) == {}
    assert taken.apply(report(3, returned_to_order=1, cancelled=1)) == {}

    now = taken.quantities("a")
    assert (now.open, now.cancelled, now.released) == (1, 1, 1)


def test_an_old_report_or_one_of_an_unknown_fulfillment_changes_nothing() -> None:
    taken = released(a=2)
    taken.apply(report(5, picked=1))
    before = taken.model_copy(deep=True)

    assert taken.apply(report(5, returned_to_order=2)) == {}
    other = report(9, returned_to_order=2).model_copy(update={"fulfillment_id": "W-9-1"})
    assert taken.apply(other) == {}

    assert taken == before


def test_an_order_moves_only_units_it_holds() -> None:
    taken = book(a=2)
    with pytest.raises(IllegalTransitionError, match="does not move units from open to shipped"):
        taken.move("a", Bucket.OPEN, Bucket.SHIPPED, 1)
    with pytest.raises(IllegalTransitionError, match="does not move units from cancelled"):
        taken.move("a", Bucket.CANCELLED, Bucket.OPEN, 1)
    with pytest.raises(IllegalTransitionError, match="cannot move 3 units of line a from open: 2"):
        taken.move("a", Bucket.OPEN, Bucket.RESERVED, 3)
    with pytest.raises(IllegalTransitionError, match="cannot release 1 units of line a: 0"):
        taken.release(fulfillment(a=1))
    assert taken == book(a=2)


def test_all_quantities_names_every_line() -> None:
    assert {x: q.open for x, q in book(a=2, b=1).all_quantities().items()} == {"a": 2, "b": 1}
    assert not book(a=1).is_finished


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6))
def test_reports_in_any_order_keep_each_unit_in_one_place(
    asked: int, reports: list[tuple[int, int]]
) -> None:
    taken = released(a=asked)
    for revision, back in reports:
        taken.apply(report(revision, returned_to_order=min(back, asked)))
        assert taken.quantities("a").ordered == asked


def test_amounts_are_converted_or_refused() -> None:
    rates = {"EUR": "1.10"}

    assert to_base(Decimal(5), "USD", "USD", {}) == 5
    assert to_base(Decimal(5), "EUR", "USD", rates) == Decimal("5.50")
    with pytest.raises(NoRateError, match="from GBP to USD"):
        to_base(Decimal(5), "GBP", "USD", rates)


def test_a_place_is_told_without_anything_personal() -> None:
    address = Address(name="Ann", country="US", region="CA", postal_code="90210", line1="1 Main")

    assert place_of(address) == Place(country="US", region="CA", postal_code="90210")
    assert region_label(place_of(address)) == "US-CA 902"
    assert region_label(Place(country="US")) == "US"
    groups = [
        {"id": "1", "address": address.model_dump()},
        {"id": "2", "method": "pickup", "node_id": "S1"},
    ]
    taken = order(ship_groups=groups)
    assert [group_facts(x).place for x in taken.ship_groups] == ["US-CA 902", "S1"]


def test_the_distance_of_two_places_is_unknown_without_coordinates() -> None:
    far = Place(latitude=34.0, longitude=-118.0, country="US")

    assert distance_km(HERE, far) == 3839
    assert distance_km(HERE, Place(country="US")) is None


def test_a_request_asks_only_for_what_is_still_wanted() -> None:
    taken = order(
        ship_groups=[
            {"id": "1", "address": {"country": "US"}},
            {"id": "2", "method": "pickup", "node_id": "S1"},
        ],
        committed={"deliver_by": "2026-03-09T00:00:00Z"},
    )
    wanted = Wanted(request_id="R-1", purpose=Purpose.REROUTE, units={"1": 1, "2": 0})

    asked = decision_request(taken, wanted, MONDAY, "USD", {})

    assert [(x.line_id, x.quantity, x.unit_price_micros) for x in asked.lines] == [
        ("1", 1, 19_900_000)
    ]
    assert [x.group_id for x in asked.groups] == ["1"]
    assert asked.purpose is Purpose.REROUTE


def test_lines_that_must_come_in_one_shipment_are_a_bundle() -> None:
    def bundles_of(**changes: Any) -> dict[str, str]:
        lines = [
            {"line_id": "1", "sku": "A", "quantity": 1, "keep_together": "set"},
            {"line_id": "2", "sku": "B", "quantity": 1, "keep_together": "set"},
            {"line_id": "3", "sku": "C", "quantity": 1},
        ]
        return bundles(order(lines=lines, **changes))

    address = {"country": "US"}
    assert bundles_of() == {"1": "together/1/set", "2": "together/1/set"}
    whole = dict.fromkeys("123", "group/1")
    assert bundles_of(allow_split=False) == whole
    assert bundles_of(ship_groups=[{"id": "1", "address": address, "ship_complete": True}]) == whole


def made_plan(connections: dict[str, Connection], **node_facts: Any) -> Any:
    place = node("N1", offers_pickup=True, **node_facts)
    facts = snapshot((place,), {"A": {"N1": 1}}, services=(service(),))
    asked = request(line("1", "A"), line("2", "B"), groups=(group(),))
    decision = decide(asked, facts, policy())
    return plan_of(
        decision, facts, connections, decision_id="D-1", plan_version=2, explanation="because"
    )


def test_a_decision_becomes_a_plan_with_who_carries_it_out() -> None:
    wms = Connection(connection_id="east", kind=ConnectionClass.WMS, vendor="reference")

    plan = made_plan({"east": wms}, connection_id="east")

    first = plan.fulfillments[0]
    assert (first.connection_id, first.connection_kind) == ("east", ConnectionClass.WMS)
    assert (first.carrier_connection_id, first.carrier) == ("carrier", "Acme Post")
    assert [(x.line_id, x.reason) for x in plan.missing] == [("2", "no stock")]
    assert (plan.plan_version, plan.explanation) == (2, "because")
    assert made_plan({}).fulfillments[0].connection_kind is ConnectionClass.NONE


def test_no_option_makes_an_empty_plan() -> None:
    facts = snapshot((), {})
    decision = decide(request(line("1", "A")), facts, policy()).model_copy(update={"chosen": None})

    plan = plan_of(decision, facts, {}, decision_id="D-1", plan_version=1)

    assert (plan.fulfillments, plan.missing) == ((), ())
