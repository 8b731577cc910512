"""The routing document: what it may say, and how its mistakes are told."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from config.reading import describe
from domain.routing.policy import RoutingPolicy
from domain.routing.strategy import Relax
from tests.unit.domain.builders import policy


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            {"objective": ["cost", "shipments"]},
            "objective: no measure comes after cost, which decides of all that is left: end here",
        ),
        (
            {"objective": ["shipments", "shipments"]},
            "objective: 'shipments' stands twice: name each measure once",
        ),
        (
            {"objective": "cheap"},
            "objective: must be weighted, or a list such as [shipments, lateness, cost]",
        ),
        (
            {"after": ["backorder", "split"]},
            "after: nothing is done after 'backorder': put it last, and only one such",
        ),
        (
            {"after": ["wait"]},
            "after.0.action: must be 'split', 'ship_to_store', 'backorder' or 'customer_care'",
        ),
        (
            {"strategies": [{"name": "a"}, {"name": "a"}]},
            "strategies.0.name: 'a' is taken: give it its own name",
        ),
        (
            {"strategies": [{"name": "default"}]},
            "strategies.0.name: 'default' is taken: give it its own name",
        ),
        (
            {"strategies": [{"name": "a", "when": {"value_at_least": "9", "value_below": "9"}}]},
            "strategies.0.when: value_below: fits no order: give more than value_at_least",
        ),
        (
            {"filters": {"node_attributes": {"cold": 1.5}}},
            "filters.node_attributes.cold: must be text, a whole number, true or false, "
            "or a list of these",
        ),
        (
            {"criteria": {"node_scores": [{"attribute": "p", "best": 1, "worst": 1, "cost": "1"}]}},
            "criteria.node_scores.0: best and worst are the same: nothing would be told apart",
        ),
        ({"filters": {"capacity_left": "20"}}, "filters.capacity_left: must be at most 1"),
        (
            {"strategies": [{"name": "a", "filter": {}}]},
            "strategies.0.filter: unknown field",
        ),
    ],
)
def test_a_mistake_is_told_with_its_path_and_what_to_do(
    document: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        RoutingPolicy.model_validate({"name": "x", **document})

    assert told in describe(refused.value)


def test_an_old_document_is_read_and_written_as_it_was() -> None:
    old = {"name": "standard", "shipment_cost": "2.00", "relax": ["excluded_nodes"]}

    written = RoutingPolicy.model_validate(old).model_dump(mode="json")

    assert set(written) == {
        "name",
        "shipment_cost",
        "lateness_cost_per_day",
        "distance_cost_per_km",
        "kind_cost",
        "excluded_kinds",
        "excluded_nodes",
        "sourcing_groups",
        "sourced_from",
        "max_shipments",
        "max_distance_km",
        "allow_line_split",
        "horizon_days",
        "inbound",
        "delivery_dates",
        "delivery_confidence",
        "relax",
        "assumed_km_same_region",
        "assumed_km_same_country",
        "assumed_km_abroad",
    }


def test_a_rich_document_is_read_again_as_it_was_written() -> None:
    rules = policy(
        strategies=[
            {
                "name": "trade",
                "when": {"order_types": ["b2b"], "any_line": {"attributes": {"cold": True}}},
                "filters": {"node_attributes": {"grade": [1, "A"]}, "capacity_left": "0.1"},
                "criteria": {"labor": {"minutes_per_unit": "0.5"}},
                "objective": ["shipments", "cost"],
                "after": [{"relax": ["keep_together"]}, "split", "customer_care"],
            }
        ]
    )

    again = RoutingPolicy.model_validate_json(rules.model_dump_json())

    assert again == rules
    assert again.strategies[0].after == (
        Relax(relax=("keep_together",)),
        "split",
        "customer_care",
    )
    assert not again.is_flat


@pytest.mark.parametrize(
    "section",
    [
        {"filters": {"hazards": True}},
        {"criteria": {"carrier_weight": "2"}},
        {"constraints": {"ship_complete": True}},
        {"objective": ["shipments"]},
        {"after": ["backorder"]},
        {"strategies": [{"name": "a"}]},
    ],
)
def test_a_document_with_any_section_is_not_flat(section: dict[str, Any]) -> None:
    assert policy(shipment_cost=Decimal(9), objective="weighted").is_flat
    assert not policy(**section).is_flat


def test_the_groups_that_a_document_names_are_those_of_all_its_strategies() -> None:
    rules = policy(
        sourcing_groups=["east"],
        filters={"sourcing_groups": ["west"]},
        strategies=[
            {"name": "a"},
            {"name": "b", "filters": {"sourcing_groups": ["east", "north"]}},
            {"name": "c", "filters": {}},
        ],
    )

    assert rules.group_names == ("east", "west", "north")


def test_the_schema_names_every_section() -> None:
    schema = RoutingPolicy.model_json_schema()

    assert {"strategies", "filters", "criteria", "constraints", "objective", "after"} <= set(
        schema["properties"]
    )
    assert "Condition" in schema["$defs"]
