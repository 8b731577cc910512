"""Automation rules: whose they are, and what a rule may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.automation import AutomationRule, rules_for
from domain.catalogue import Product
from domain.money import NoRateError
from domain.orders import Order
from domain.process_policy import ProcessPolicy

ORDER = Order.model_validate(
    {
        "order_id": "W-1",
        "source": "shop",
        "external_id": "1",
        "brand": "acme",
        "region": "US-WEST",
        "channel": "web",
        "currency": "USD",
        "placed_at": "2026-03-02T09:00:00Z",
        "customer": {"tier": "gold", "account_id": "A-7"},
        "ship_groups": [
            {
                "id": "1",
                "address": {"name": "A", "line1": "1", "city": "C", "country": "US"},
            },
            {"id": "2", "method": "pickup", "node_id": "store-1"},
        ],
        "lines": [
            {"line_id": "1", "ship_group": "1", "sku": "TEA", "quantity": 1, "unit_price": "9"},
            {"line_id": "2", "ship_group": "2", "sku": "CUP", "quantity": 1, "unit_price": "1"},
        ],
        "payment": {"status": "paid"},
    }
)

PRODUCTS = {
    "TEA": Product(sku="TEA", category="food"),
    "CUP": Product(sku="CUP", category="kitchen"),
}


def rule(**fields: Any) -> AutomationRule:
    given = {"name": "r", "event": "accepted", "do": "notify", **fields}
    return AutomationRule.model_validate(given)


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ({}, True),
        ({"min_total": "10"}, True),
        ({"min_total": "10.01"}, False),
        ({"max_total": "10"}, True),
        ({"max_total": "9.99"}, False),
        ({"brands": ["other", "acme"]}, True),
        ({"brands": ["other"]}, False),
        ({"regions": ["EU"]}, False),
        ({"channels": ["web"], "tiers": ["gold"]}, True),
        ({"channels": ["till"], "tiers": ["gold"]}, False),
        ({"channels": ["web"], "tiers": ["silver"]}, False),
        ({"accounts": ["A-7"]}, True),
        ({"accounts": ["A-8"]}, False),
        ({"countries": ["US"]}, True),
        ({"countries": ["DE"]}, False),
        ({"categories": ["food"]}, True),
        ({"categories": ["toys"]}, False),
        ({"skus": ["CUP"]}, True),
        ({"skus": ["POT"]}, False),
    ],
)
def test_a_rule_is_for_the_orders_that_meet_every_part_of_its_condition(
    condition: dict[str, Any], is_met: bool
) -> None:
    # given
    asked = rule(when=condition)
    # when
    found = rules_for(ORDER, [asked], products=PRODUCTS, base="USD", rates={})
    # then
    assert found == ((asked,) if is_met else ())


def test_a_total_in_another_currency_counts_in_the_base_currency() -> None:
    # given
    asked = rule(when={"min_total": "50"})
    # when, then
    found = rules_for(ORDER, [asked], products=PRODUCTS, base="EUR", rates={"USD": "5"})
    assert found == (asked,)
    assert rules_for(ORDER, [], products={}, base="EUR", rates={}) == ()
    with pytest.raises(NoRateError, match="no exchange rate from USD to EUR"):
        rules_for(ORDER, [asked], products=PRODUCTS, base="EUR", rates={})


def test_what_is_told_is_the_rules_text_or_else_its_name() -> None:
    assert rule(text="call the shopper").told == "call the shopper"
    assert rule().told == "r"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"when": {"min_total": "5", "max_total": "4"}}, "max_total is less than min_total"),
        ({"hold": "fraud"}, "hold: only for `do: hold`"),
        ({"do": "attention", "expires_after": "PT1H"}, "expires_after: only for `do: hold`"),
        ({"do": "hold", "expires_after": "PT0S"}, "greater than 0"),
        ({"event": "eclipse"}, "accepted"),
    ],
)
def test_a_rule_that_cannot_act_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        rule(**fields)


@pytest.mark.parametrize("do", ["hold", "notify", "attention"])
def test_a_rule_is_read_as_it_was_written(do: str) -> None:
    written = rule(do=do)
    assert AutomationRule.model_validate_json(written.model_dump_json()) == written


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two rules are called 'r': rename one"):
        ProcessPolicy(name="p", automation=(rule(), rule(event="late")))
