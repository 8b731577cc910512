"""Two policies, or two plans, compared field by field."""

from domain.routing.solve import decide
from starter.differences import differences, plan_facts, whole_policy
from tests.unit.domain.builders import line, node, policy, request, snapshot


def told(before: dict[str, object], after: dict[str, object]) -> list[tuple[str, object, object]]:
    one, other = (whole_policy("routing", {"name": "x", **each}) for each in (before, after))
    return [(x.path, x.before, x.after) for x in differences(one, other)]


def test_a_strategy_is_compared_with_the_one_of_its_name() -> None:
    trade = {"name": "trade", "constraints": {"max_shipments": 2}}
    other = {"name": "other"}

    found = told(
        {"strategies": [trade, other]},
        {"strategies": [other, trade | {"constraints": {"max_shipments": 3}}]},
    )

    assert found == [
        ("strategies.trade.constraints.max_shipments", 2, 3),
        ("strategy_order", ["trade", "other"], ["other", "trade"]),
    ]


def test_a_section_is_compared_with_what_a_flat_policy_has_instead() -> None:
    found = told({}, {"filters": {"hazards": True}, "after": ["split"], "objective": ["shipments"]})

    assert found == [
        ("filters.hazards", False, True),
        ("objective", ["cost"], ["shipments"]),
        ("after", [], ["split"]),
    ]


def test_two_flat_policies_differ_in_their_fields_alone() -> None:
    assert told({"max_shipments": 2}, {"max_shipments": 3}) == [("max_shipments", 2, 3)]


def test_a_plan_is_compared_with_the_strategy_that_made_it() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 1}})
    asked = request(line("1", "A", 2))
    flat = plan_facts(decide(asked, facts, policy()))
    rich = plan_facts(decide(asked, facts, policy(after=["split", "customer_care"])))

    assert [(x.path, x.before, x.after) for x in differences(flat, rich)] == [
        ("strategy", None, "default"),
        ("relaxed", None, []),
        ("after", None, "customer_care"),
    ]
