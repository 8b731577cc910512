"""Rules that can never apply, and contradictions, are found in valid policies."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from domain.approvals import approval_chain
from domain.network import NodeKind
from domain.orders import Order
from domain.policy_rollout import Scope
from domain.policy_warnings import (
    crossed_limits,
    excluded_and_demanded,
    holds_whenever,
    is_limited,
    process_warnings,
    routing_warnings,
    scope_warnings,
    shadowed_rules,
)
from domain.process_policy import ApprovalCondition, ProcessPolicy
from domain.routing.policy import RoutingPolicy


def told_of_routing(**fields: Any) -> list[str]:
    return [x.told for x in routing_warnings(RoutingPolicy.model_validate({"name": "a", **fields}))]


def told_of_process(**fields: Any) -> list[str]:
    return [x.told for x in process_warnings(ProcessPolicy.model_validate({"name": "a", **fields}))]


def level(level: int, role: str = "manager", **condition: Any) -> dict[str, Any]:
    return {"level": level, "role": role, "condition": condition}


def test_policies_that_say_nothing_of_their_own_have_no_warning() -> None:
    assert told_of_routing() == []
    assert told_of_process() == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"excluded_kinds": ["store"], "kind_cost": {"store": "1", "dc": "1"}},
            ["kind_cost.store: never counts: nodes of kind store are excluded"],
        ),
        (
            {
                "excluded_kinds": ["store"],
                "kind_cost": {"store": "1"},
                "relax": ["excluded_kinds"],
            },
            [],
        ),
        (
            {"excluded_kinds": ["dc", "store", "supplier", "threepl"]},
            ["excluded_kinds: excludes every kind: no node can serve"],
        ),
        (
            {"relax": ["max_distance_km", "excluded_nodes"]},
            [
                "relax.0: max_distance_km is not set: there is nothing to drop",
                "relax.1: excluded_nodes is not set: there is nothing to drop",
            ],
        ),
        (
            {"relax": ["max_shipments", "max_shipments"]},
            ["relax.1: max_shipments is dropped already"],
        ),
        (
            {"delivery_confidence": "0.8"},
            ["delivery_confidence: never counts: it is for `delivery_dates: learned`"],
        ),
        ({"delivery_confidence": "0.8", "delivery_dates": "learned"}, []),
    ],
)
def test_a_routing_policy_is_warned_of(fields: dict[str, Any], told: list[str]) -> None:
    assert told_of_routing(**fields) == told


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"order_types": []}, ["order_types: names no order type: no order is meant"]),
        (
            {"order_types": ["b2c"], "approvals": [level(1)]},
            [
                "approvals: never asked: approvals are for b2b orders,"
                " which `order_types` leaves out"
            ],
        ),
        (
            {"approvals": [level(1, min_total="5000"), level(1, accounts=["A"])]},
            ["approvals.1: level 1 stands twice, and one order may meet both"],
        ),
        ({"approvals": [level(1, accounts=["B"]), level(1, accounts=["A"])]}, []),
        ({"approvals": [level(1, payment_terms=["N30"]), level(1, payment_terms=["N60"])]}, []),
        (
            {"approvals": [level(1, min_total="20000"), level(2, min_total="5000")]},
            [
                "approvals.1: level 2 is asked of orders that pass level 1 by:"
                " a lower level should ask no more than a higher one"
            ],
        ),
        ({"approvals": [level(1, min_total="5000"), level(2, min_total="20000")]}, []),
        ({"approvals": [level(1, min_total="5000"), level(2, min_total="5000")]}, []),
        (
            {"approvals": [{**level(1), "escalate_to": "manager"}]},
            ["approvals.0.escalate_to: changes nothing: manager is asked from the start"],
        ),
        (
            {"approvals": [level(1, over_credit=True)]},
            ["approvals.0.condition.over_credit: never holds: no account has a credit limit"],
        ),
        (
            {
                "approvals": [level(1, over_credit=True, accounts=["A"])],
                "credit_limits": {"B": "1"},
            },
            [
                "approvals.0.condition.over_credit:"
                " never holds: none of these accounts has a credit limit"
            ],
        ),
        ({"approvals": [level(1, over_credit=True)], "credit_limits": {"B": "1"}}, []),
        (
            {"credit_limits": {"B": "1"}},
            ["credit_limits: are never looked at: no approval has the condition `over_credit`"],
        ),
        (
            {"timings": {"backorder_answer": "P1D"}},
            [
                "timings.backorder_answer: never counts:"
                " nobody is asked unless `backorder_last_resort: ask`"
            ],
        ),
        ({"timings": {"backorder_answer": "P1D"}, "backorder_last_resort": "ask"}, []),
        (
            {"timings": {"backorder": "PT30M"}},
            [
                "timings.backorder_look: is not shorter than backorder:"
                " given-back stock is never looked for"
            ],
        ),
        ({"timings": {"backorder": "PT0S"}}, []),
        (
            {"timings": {"vendor_deadline": "PT5M"}},
            [
                "timings.vendor_retry_longest: is not shorter than vendor_deadline:"
                " the deadline ends the longest pause"
            ],
        ),
    ],
)
def test_a_process_policy_is_warned_of(fields: dict[str, Any], told: list[str]) -> None:
    assert told_of_process(**fields) == told


def rule(name: str, event: str = "accepted", do: str = "hold", **fields: Any) -> dict[str, Any]:
    return {"name": name, "event": event, "do": do, **fields}


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            [rule("a", when={"brands": ["x", "y"]}), rule("b", when={"brands": ["x"]})],
            ["automation.1: adds nothing: number 1 above does the same whenever it does"],
        ),
        ([rule("a", when={"brands": ["x"]}), rule("b", when={"brands": ["y"]})], []),
        ([rule("a"), rule("b", hold="fraud")], []),
        ([rule("a"), rule("b", event="late")], []),
        ([rule("a", do="notify"), rule("b", do="notify")], []),
        (
            [
                rule("a"),
                rule("b", do="notify", text="Hello"),
                rule("c", do="notify", text="Hello", when={"min_total": "5"}),
            ],
            ["automation.2: adds nothing: number 2 above does the same whenever it does"],
        ),
    ],
)
def test_an_automation_rule_that_another_makes_needless_is_told(
    rules: list[dict[str, Any]], told: list[str]
) -> None:
    assert told_of_process(automation=rules) == told


def test_a_wait_of_approvals_that_ends_too_late_is_told_only_where_it_counts() -> None:
    timings = {"approval_reminder": "P9D", "approval_escalation": "P8D", "approval_expiry": "P7D"}
    escalating = [{**level(1), "escalate_to": "director"}]

    assert told_of_process(timings=timings) == []
    assert told_of_process(timings=timings, approvals=[level(1)]) == [
        "timings.approval_reminder: is not shorter than approval_expiry: nobody is reminded"
    ]
    assert told_of_process(timings=timings, approvals=escalating) == [
        "timings.approval_reminder: is not shorter than approval_expiry: nobody is reminded",
        "timings.approval_escalation: is not shorter than approval_expiry: nothing escalates",
        "timings.approval_reminder: is not shorter than approval_escalation:"
        " the reminder comes after it",
    ]


def test_a_scope_of_another_order_type_is_warned_of_where_approvals_are_lost() -> None:
    policy = ProcessPolicy.model_validate(
        {"name": "p", "order_types": ["b2b"], "approvals": [level(1)]}
    )

    assert [x.told for x in scope_warnings(policy, Scope(order_type="b2c"))] == [
        "order_types: leaves out b2c: its approvals are never asked there"
    ]
    assert scope_warnings(policy, Scope(order_type="b2b")) == ()
    assert scope_warnings(policy, Scope(brand="acme")) == ()
    assert scope_warnings(RoutingPolicy(name="r"), Scope(order_type="b2c")) == ()
    without = policy.model_copy(update={"approvals": ()})
    assert scope_warnings(without, Scope(order_type="b2c")) == ()


@pytest.mark.parametrize("scope", [Scope(), Scope(brand="acme"), Scope(order_type="b2b")])
def test_a_policy_for_consumers_is_warned_of_where_business_orders_come_under_it(
    scope: Scope,
) -> None:
    policy = ProcessPolicy.model_validate({"name": "p", "order_types": ["b2c"]})

    assert [x.told for x in scope_warnings(policy, scope)] == [
        "order_types: leaves out b2b: business orders of this scope need nobody's approval"
    ]
    assert scope_warnings(policy, Scope(order_type="b2c")) == ()


class Condition(BaseModel):
    brands: tuple[str, ...] = ()
    excluded_brands: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...]] = {}
    excluded_attributes: dict[str, tuple[str, ...]] = {}
    min_value: int | None = None
    max_value: int | None = None
    tier: str | None = None
    units_at_least: int | None = None
    units_below: int | None = None
    heavier_than_grams: int | None = None
    any_line: "Condition | None" = None


class Rule(BaseModel):
    when: Condition = Condition()


class Rules(BaseModel):
    rules: tuple[Rule, ...] = ()
    names: tuple[str, ...] = ()
    by_name: dict[str, Rule] = {}


@pytest.mark.parametrize(
    ("general", "narrow", "holds"),
    [
        ({}, {"tier": "gold"}, True),
        ({"tier": "gold"}, {}, False),
        ({"tier": "gold"}, {"tier": "gold"}, True),
        ({"brands": ["a", "b"]}, {"brands": ["a"]}, True),
        ({"brands": ["a"]}, {"brands": ["a", "b"]}, False),
        ({"brands": ["a"]}, {}, False),
        ({"attributes": {"x": ["1", "3"]}}, {"attributes": {"x": ["1"], "y": ["2"]}}, True),
        ({"attributes": {"x": ["1"]}}, {"attributes": {"x": ["2"]}}, False),
        ({"attributes": {"x": ["1"]}}, {"attributes": {"y": ["1"]}}, False),
        ({"any_line": {"tier": "gold"}}, {"any_line": {"tier": "gold", "brands": ["a"]}}, True),
        ({"any_line": {"tier": "gold"}}, {"any_line": {"brands": ["a"]}}, False),
        ({"any_line": {"tier": "gold"}}, {}, False),
        ({"units_at_least": 5}, {"units_at_least": 6}, True),
        ({"units_at_least": 5}, {"units_at_least": 4}, False),
        ({"units_below": 5}, {"units_below": 4}, True),
        ({"units_below": 5}, {"units_below": 6}, False),
        ({"heavier_than_grams": 5}, {"heavier_than_grams": 6}, True),
        ({"min_value": 5}, {"min_value": 6}, True),
        ({"min_value": 5}, {"min_value": 4}, False),
        ({"min_value": 5}, {}, False),
        ({"max_value": 5}, {"max_value": 5}, True),
        ({"max_value": 5}, {"max_value": 6}, False),
        ({"max_value": 5}, {}, False),
    ],
)
def test_a_condition_holds_whenever_a_narrower_one_does(
    general: dict[str, Any], narrow: dict[str, Any], holds: bool
) -> None:
    assert holds_whenever(Condition(**general), Condition(**narrow)) is holds


def test_a_rule_below_one_that_always_holds_never_applies() -> None:
    rules = Rules(
        rules=(
            Rule(when=Condition(tier="gold", min_value=5)),
            Rule(when=Condition(tier="gold")),
            Rule(when=Condition(tier="gold", max_value=9)),
            Rule(),
            Rule(),
        )
    )

    assert [x.told for x in shadowed_rules(rules)] == [
        "rules.2: never applies: number 2 above holds whenever it does",
        "rules.4: never applies: number 4 above holds whenever it does",
    ]


def test_limits_that_cross_are_found_however_deep_they_stand() -> None:
    crossed = Rule(when=Condition(min_value=5, max_value=4))
    rules = Rules(rules=(Rule(), crossed), names=("a",), by_name={"x": crossed})

    assert [x.told for x in crossed_limits(rules)] == [
        "rules.1.when.max_value: never holds together with min_value",
        "by_name.x.when.max_value: never holds together with min_value",
    ]
    equal = Condition(units_at_least=5, units_below=5)
    assert [x.told for x in crossed_limits(equal)] == [
        "units_below: never holds together with units_at_least"
    ]
    assert list(crossed_limits(Condition(min_value=5, max_value=5))) == []


def test_what_is_both_excluded_and_demanded_is_told() -> None:
    both = Condition(brands=("a", "b"), excluded_brands=("b", "c"))
    attributes = Condition(
        attributes={"x": ("1", "2"), "y": ("1",)}, excluded_attributes={"x": ("2",), "y": ("3",)}
    )

    assert [x.told for x in excluded_and_demanded(Rule(when=both))] == [
        "when.excluded_brands: b is demanded by brands beside it"
    ]
    assert [x.told for x in excluded_and_demanded(attributes)] == [
        "excluded_attributes: x is demanded by attributes beside it"
    ]
    assert list(excluded_and_demanded(Condition(excluded_brands=("a",)))) == []


@pytest.mark.parametrize(
    ("limit", "fields", "limited"),
    [
        ("allow_line_split", {}, False),
        ("allow_line_split", {"allow_line_split": False}, True),
        ("allow_line_split", {"constraints": {"allow_line_split": False}}, True),
        ("max_shipments", {}, True),
        ("max_distance_km", {}, False),
        (
            "max_distance_km",
            {"strategies": [{"name": "s", "filters": {"max_distance_km": 9}}]},
            True,
        ),
        ("starts_within_days", {"filters": {"starts_within_days": 0}}, True),
        ("min_units_per_shipment", {"constraints": {"min_units_per_shipment": 0}}, False),
        ("min_units_per_shipment", {"constraints": {"min_units_per_shipment": 2}}, True),
        ("keep_together", {}, False),
        ("keep_together", {"constraints": {"keep_together_by": ["category"]}}, True),
        ("carriers", {"filters": {"excluded_services": ["a"]}}, True),
        ("carriers", {"filters": {"kinds": ["dc"]}}, False),
    ],
)
def test_whether_a_limit_is_set_is_known_wherever_it_stands(
    limit: str, fields: dict[str, Any], limited: bool
) -> None:
    policy = RoutingPolicy.model_validate({"name": "a", **fields})

    assert is_limited(policy, limit) is limited


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {
                "strategies": [
                    {"name": "gold", "when": {"tiers": ["gold", "silver"]}},
                    {"name": "gold-web", "when": {"tiers": ["gold"], "channels": ["web"]}},
                    {"name": "web", "when": {"channels": ["web"]}},
                ]
            },
            ["strategies.1: never applies: number 1 above holds whenever it does"],
        ),
        (
            {"filters": {"kinds": ["dc"], "excluded_kinds": ["dc", "store"]}},
            ["filters.excluded_kinds: dc is demanded by kinds beside it"],
        ),
        (
            {"strategies": [{"name": "s", "filters": {"excluded_kinds": list(NodeKind)}}]},
            ["strategies.0.filters.excluded_kinds: excludes every kind: no node can serve"],
        ),
        (
            {
                "constraints": {"relax": ["kinds"]},
                "after": [{"relax": ["nodes"]}, "split", "split", "backorder"],
            },
            [
                "constraints.relax.0: kinds is not set: there is nothing to drop",
                "after.0.relax.0: nodes is not set: there is nothing to drop",
                "after.2: split is done already: a second time changes nothing",
            ],
        ),
        (
            {
                "kind_cost": {"store": "1"},
                "filters": {"excluded_kinds": ["store"]},
                "strategies": [{"name": "s", "filters": {"excluded_kinds": []}}],
            },
            [],
        ),
        (
            {
                "kind_cost": {"store": "1"},
                "excluded_kinds": ["store"],
                "criteria": {"kind_cost": {"dc": "1"}},
                "strategies": [
                    {
                        "name": "s",
                        "when": {"tiers": ["gold"]},
                        "criteria": {"kind_cost": {"store": "2", "dc": "1"}},
                    },
                    {"name": "t", "criteria": {"shipment_cost": "2"}},
                ],
            },
            [
                "strategies.0.criteria.kind_cost.store:"
                " never counts: nodes of kind store are excluded",
                "kind_cost.store: never counts: nodes of kind store are excluded",
            ],
        ),
        (
            {"excluded_kinds": ["store"], "criteria": {"kind_cost": {"store": "1"}}},
            ["criteria.kind_cost.store: never counts: nodes of kind store are excluded"],
        ),
    ],
)
def test_strategies_and_sections_are_warned_of(fields: dict[str, Any], told: list[str]) -> None:
    assert told_of_routing(**fields) == told


accounts = st.lists(st.sampled_from(["A", "B", "C"]), max_size=2).map(tuple)
conditions = st.builds(
    ApprovalCondition,
    min_total=st.none() | st.sampled_from([Decimal(0), Decimal(10), Decimal(20)]),
    accounts=accounts,
    max_margin=st.none() | st.sampled_from([Decimal("0.1"), Decimal("0.2")]),
    over_credit=st.booleans(),
    payment_terms=st.lists(st.sampled_from(["N30", "N60"]), max_size=1).map(tuple),
)


@given(
    general=conditions,
    narrow=conditions,
    total=st.sampled_from([Decimal(5), Decimal(15), Decimal(25)]),
    account=st.sampled_from(["A", "B", "C"]),
    margin=st.sampled_from([None, Decimal("0.05"), Decimal("0.15"), Decimal("0.5")]),
    terms=st.sampled_from(["N30", "N60"]),
)
def test_no_order_meets_a_narrow_condition_without_the_one_that_holds_whenever_it_does(
    general: ApprovalCondition,
    narrow: ApprovalCondition,
    total: Decimal,
    account: str,
    margin: Decimal | None,
    terms: str,
) -> None:
    order = Order.model_validate(
        {
            "order_id": "B-1",
            "source": "erp",
            "external_id": "1",
            "order_type": "b2b",
            "currency": "USD",
            "placed_at": "2026-05-04T12:00:00Z",
            "customer": {"account_id": account},
            "payment_terms": terms,
            "ship_groups": [{"id": "1", "address": {"country": "US"}}],
            "lines": [{"line_id": "1", "sku": "TEE", "quantity": 1, "unit_price": "1"}],
        }
    )

    def meets(condition: ApprovalCondition) -> bool:
        policy = ProcessPolicy.model_validate(
            {
                "name": "p",
                "approvals": [{"level": 1, "role": "r", "condition": condition.model_dump()}],
                "credit_limits": {"A": "7"},
            }
        )
        asked = approval_chain(
            order, policy, total_base=total, margin=margin, categories=(), open_terms=Decimal(0)
        )
        return bool(asked)

    if holds_whenever(general, narrow) and meets(narrow):
        assert meets(general)
