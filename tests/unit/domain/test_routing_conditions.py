from decimal import Decimal
from typing import Any

import pytest

from domain.catalogue import KitComponent, Product
from domain.network import Place
from domain.orders import Method, OrderType, ServiceLevel
from domain.routing.conditions import Condition, ProductMatch, exact, has_attributes
from domain.routing.decision import DecisionRequest
from domain.routing.rules import rules_for
from tests.unit.domain.builders import group, line, policy, request

SOLVENT = Product(
    sku="SOLVENT", category="paint", hazard="flammable", weight_grams=900, height_mm=310
)
LAMP = Product(sku="LAMP", category="home", weight_grams=1_400, attributes={"cold": False, "n": 2})
SET = Product(sku="SET", components=(KitComponent(sku="SOLVENT", quantity=1),))
PRODUCTS = {x.sku: x for x in (SOLVENT, LAMP, SET)}


def order(**changes: Any) -> DecisionRequest:
    facts: dict[str, Any] = {
        "brand": "acme",
        "region": "east",
        "channel": "web",
        "tier": "gold",
        "order_type": OrderType.B2B,
        "groups": (
            group(service_level=ServiceLevel.EXPRESS),
            group("2", destination=Place(country="CA", region="QC")),
        ),
    }
    lines = (line("1", "SOLVENT", 2, unit_price_micros=30_000_000), line("2", "LAMP"))
    return request(*lines, **(facts | changes))


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"brands": ["acme", "other"]}, True),
        ({"brands": ["other"]}, False),
        ({"regions": ["east"]}, True),
        ({"regions": ["west"]}, False),
        ({"channels": ["shop"]}, False),
        ({"order_types": ["b2b"]}, True),
        ({"order_types": ["b2c"]}, False),
        ({"tiers": ["gold"]}, True),
        ({"tiers": ["silver"]}, False),
        ({"methods": ["ship"]}, True),
        ({"methods": ["pickup"]}, False),
        ({"service_levels": ["express"]}, True),
        ({"service_levels": ["standard"]}, False),
        ({"destination_countries": ["US"]}, True),
        ({"destination_countries": ["CA"]}, False),
        ({"destination_regions": ["US-PA"]}, True),
        ({"destination_regions": ["QC"]}, False),
        ({"value_at_least": "60"}, True),
        ({"value_at_least": "60.01"}, False),
        ({"value_below": "60.01"}, True),
        ({"value_below": "60"}, False),
        ({"units_at_least": 3}, True),
        ({"units_at_least": 4}, False),
        ({"units_below": 4}, True),
        ({"units_below": 3}, False),
        ({"any_line": {"skus": ["LAMP"]}}, True),
        ({"any_line": {"skus": ["OTHER"]}}, False),
        ({"every_line": {"categories": ["paint", "home"]}}, True),
        ({"every_line": {"categories": ["paint"]}}, False),
        ({"brands": ["acme"], "tiers": ["silver"]}, False),
    ],
)
def test_a_condition_holds_when_each_of_its_parts_does(when: dict[str, Any], holds: bool) -> None:
    assert Condition.model_validate(when).holds(order(), PRODUCTS) is holds


def test_the_value_is_the_whole_orders_even_when_a_part_is_routed() -> None:
    dear = Condition(value_at_least=Decimal(100))

    assert not dear.holds(order(), PRODUCTS)
    assert dear.holds(order(order_value_micros=100_000_000), PRODUCTS)


def test_a_group_that_goes_to_a_store_has_no_destination_to_look_at() -> None:
    pickup = order(groups=(group(method=Method.PICKUP, destination=None, node_id="N1"),))

    assert Condition(methods=(Method.PICKUP,)).holds(pickup, PRODUCTS)
    assert not Condition(destination_countries=("US",)).holds(pickup, PRODUCTS)


@pytest.mark.parametrize(
    ("match", "skus"),
    [
        ({}, {"SOLVENT", "LAMP", "SET", "UNKNOWN"}),
        ({"skus": ["SOLVENT"]}, {"SOLVENT", "SET"}),
        ({"skus": ["UNKNOWN"]}, {"UNKNOWN"}),
        ({"categories": ["home"]}, {"LAMP"}),
        ({"hazards": ["flammable"]}, {"SOLVENT", "SET"}),
        ({"hazards": ["toxic"]}, set()),
        ({"hazardous": True}, {"SOLVENT", "SET"}),
        ({"hazardous": False}, {"LAMP", "SET", "UNKNOWN"}),
        ({"heavier_than_grams": 900}, {"LAMP"}),
        ({"longer_than_mm": 300}, {"SOLVENT", "SET"}),
        ({"attributes": {"cold": False}}, {"LAMP"}),
        ({"attributes": {"cold": [True, False], "n": "2"}}, {"LAMP"}),
        ({"attributes": {"n": True}}, set()),
    ],
)
def test_a_product_fits_by_itself_or_by_what_is_in_the_kit(
    match: dict[str, Any], skus: set[str]
) -> None:
    rule = ProductMatch.model_validate(match)

    assert {x for x in (*PRODUCTS, "UNKNOWN") if rule.holds_sku(x, PRODUCTS)} == skus


def test_an_attribute_that_is_a_list_holds_each_of_its_values() -> None:
    known = {"hazards": ["flammable", "toxic"], "grade": 2}

    assert has_attributes({"hazards": ("toxic",), "grade": (1, 2)}, known)
    assert not has_attributes({"hazards": ("corrosive",)}, known)
    assert not has_attributes({"missing": ("x",)}, known)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1.5", Decimal("1.5")),
        (2, Decimal(2)),
        (0.25, Decimal("0.25")),
        (True, None),
        (None, None),
        ("many", None),
        ("NaN", None),
    ],
)
def test_a_number_in_an_attribute_may_be_text(value: object, number: Decimal | None) -> None:
    assert exact(value) == number


def test_the_first_strategy_whose_condition_holds_is_the_orders() -> None:
    rules = policy(
        max_shipments=4,
        shipment_cost=Decimal(2),
        strategies=[
            {"name": "dear", "when": {"value_at_least": "1000"}},
            {
                "name": "trade",
                "when": {"order_types": ["b2b"]},
                "constraints": {"max_shipments": 1},
                "criteria": {"kind_cost": {"store": "3"}},
            },
            {"name": "rest", "filters": {"max_distance_km": 5}},
        ],
        constraints={"ship_complete": True},
    )

    name, trade = rules_for(rules, order(), PRODUCTS)
    rest = rules_for(rules, order(order_type=OrderType.B2C), PRODUCTS)

    assert (name, trade.max_shipments, trade.shipment_cost) == ("trade", 1, Decimal(2))
    assert trade.kind_cost == {"store": Decimal(3)}
    # A section that the strategy has stands for the policy's, whole.
    assert trade.constraints.ship_complete is False
    assert rest.strategy == "rest"
    assert rest.policy.constraints.ship_complete is True
    assert (rest.policy.max_shipments, rest.policy.max_distance_km) == (4, 5)


def test_an_order_of_no_strategy_goes_by_the_policys_own_fields() -> None:
    rules = policy(strategies=[{"name": "other", "when": {"brands": ["x"]}}], after=["backorder"])

    found = rules_for(rules, order(), PRODUCTS)

    assert found.strategy == "default"
    assert found.policy.after == ("backorder",)
    assert found.policy.strategies == ()


def test_a_flat_policy_has_no_strategy_and_stays_as_it_is() -> None:
    rules = policy(max_distance_km=10)

    found = rules_for(rules, order(), PRODUCTS)

    assert (found.strategy, found.policy) == ("", rules)
    assert found.policy is rules


def test_the_rules_of_many_policies_are_forgotten_again() -> None:
    many = [policy(name=f"p{n}", after=["backorder"]) for n in range(130)]

    assert {rules_for(x, order(), PRODUCTS).policy.name for x in many} == {x.name for x in many}
