from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.network import DistributionGroup, Node, NodeKind
from domain.network import Place as Spot
from domain.stock_rules import (
    Match,
    Place,
    ProtectionRule,
    SafetyStockRule,
    StockRules,
    fill_protections,
    protection_levels,
    safety_stock,
)


def a_place(**changes: object) -> Place:
    facts: dict[str, object] = {
        "node_id": "S1",
        "kind": NodeKind.STORE,
        "groups": frozenset({"west"}),
        "sku": "TEE",
        "category": "shirts",
        "sold_units": 14,
        "sold_days": 7,
    }
    return Place(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ({}, True),
        ({"kinds": ["store", "dc"]}, True),
        ({"kinds": ["dc"]}, False),
        ({"nodes": ["S1"]}, True),
        ({"nodes": ["S2"]}, False),
        ({"groups": ["east", "west"]}, True),
        ({"groups": ["east"]}, False),
        ({"categories": ["shirts"]}, True),
        ({"categories": ["shoes"]}, False),
        ({"skus": ["TEE"]}, True),
        ({"skus": ["CAP"]}, False),
        ({"velocity_from": "2"}, True),
        ({"velocity_from": "2.0001"}, False),
        ({"velocity_below": "2.0001"}, True),
        ({"velocity_below": "2"}, False),
        ({"kinds": ["store"], "skus": ["CAP"]}, False),
    ],
)
def test_a_rule_is_for_the_positions_that_fit_all_it_names(
    when: dict[str, object], fits: bool
) -> None:
    assert Match.model_validate(when).fits(a_place()) is fits


@pytest.mark.parametrize(
    ("rule", "units"),
    [
        ({"units": 3}, 3),
        ({"days_of_cover": "3"}, 6),
        ({"days_of_cover": "1.6"}, 4),
        ({"units": 5, "days_of_cover": "2"}, 5),
        ({"units": 3, "days_of_cover": "2"}, 4),
        ({"days_of_cover": "10", "at_most": 8}, 8),
        ({}, 0),
    ],
)
def test_safety_stock_is_units_or_days_of_cover_whichever_is_more_up_to_a_limit(
    rule: dict[str, object], units: int
) -> None:
    assert SafetyStockRule.model_validate(rule).units_at(a_place()) == units


def test_the_first_safety_rule_that_fits_decides_and_without_one_nothing_is_kept() -> None:
    rules = StockRules(
        safety_stock=(
            SafetyStockRule(when=Match(skus=("CAP",)), units=9),
            SafetyStockRule(when=Match(kinds=(NodeKind.STORE,)), units=2),
            SafetyStockRule(when=Match(categories=("shirts",)), units=7),
        )
    )
    assert safety_stock(rules, a_place()) == 2
    assert safety_stock(rules, a_place(kind=NodeKind.DC)) == 7
    assert safety_stock(rules, a_place(kind=NodeKind.DC, category="shoes")) == 0


def test_each_channel_is_protected_by_its_first_rule_that_fits() -> None:
    rules = StockRules(
        protections=(
            ProtectionRule(channel="vip", when=Match(skus=("CAP",)), units=50),
            ProtectionRule(channel="store", percent=25),
            ProtectionRule(channel="vip", units=4),
            ProtectionRule(channel="vip", units=100),
            ProtectionRule(channel="b2b", when=Match(kinds=(NodeKind.DC,)), units=3),
        )
    )
    assert list(protection_levels(rules, a_place(), 11).items()) == [("store", 2), ("vip", 4)]
    assert protection_levels(rules, a_place(), -5) == {"vip": 4}
    assert rules.channels == ("vip", "store", "b2b")


def test_a_protection_is_units_or_percent_not_both() -> None:
    with pytest.raises(ValidationError):
        ProtectionRule(channel="vip", units=1, percent=1)


def test_equal_documents_have_one_version_and_another_document_another() -> None:
    one = StockRules.model_validate({"safety_stock": [{"units": 3}]})
    same = StockRules.model_validate({"velocity_days": 28, "safety_stock": [{"units": 3}]})
    other = StockRules.model_validate({"safety_stock": [{"units": 4}]})
    assert one.version == same.version
    assert one.version != other.version


@pytest.mark.parametrize(
    ("levels", "kept", "pool", "filled"),
    [
        ({"a": 5, "b": 5}, {}, 20, {"a": 5, "b": 5}),
        ({"a": 5, "b": 5}, {}, 7, {"a": 5, "b": 2}),
        # b keeps what it has before a is filled up.
        ({"a": 5, "b": 5}, {"b": 4}, 7, {"a": 3, "b": 4}),
        ({"a": 2}, {"a": 6}, 20, {"a": 2}),
        ({"a": 5, "b": 5}, {"a": 5, "b": 5}, 6, {"a": 5, "b": 1}),
        ({"a": 5}, {"a": 3}, -2, {"a": 0}),
        ({}, {"a": 3}, 9, {}),
    ],
)
def test_protections_are_filled_in_order_from_what_nobody_has(
    levels: dict[str, int], kept: dict[str, int], pool: int, filled: dict[str, int]
) -> None:
    assert fill_protections(levels, kept, pool) == filled


CHANNELS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 20))


@given(CHANNELS, CHANNELS, st.integers(-20, 80))
def test_no_more_is_protected_than_wanted_or_there_and_nothing_is_kept_idle(
    levels: dict[str, int], kept: dict[str, int], pool: int
) -> None:
    filled = fill_protections(levels, kept, pool)
    assert sum(filled.values()) == min(max(0, pool), sum(levels.values()))
    assert all(0 <= filled[channel] <= level for channel, level in levels.items())
    assert fill_protections(levels, filled, pool) == filled


def test_a_velocity_is_units_a_day() -> None:
    assert a_place(sold_units=3, sold_days=4).velocity == Decimal("0.75")


@pytest.mark.parametrize(
    ("group", "holds"),
    [
        ({}, False),
        ({"nodes": ["S1"]}, True),
        ({"nodes": ["S2"]}, False),
        ({"kinds": ["store"]}, True),
        ({"kinds": ["dc"]}, False),
        ({"regions": ["CA"]}, True),
        ({"regions": ["NY"]}, False),
        ({"kinds": ["store"], "regions": ["NY"]}, False),
        ({"nodes": ["S1"], "kinds": ["dc"]}, True),
    ],
)
def test_a_group_holds_nodes_by_name_kind_and_region(group: dict[str, object], holds: bool) -> None:
    node = Node(node_id="S1", kind=NodeKind.STORE, place=Spot(country="US", region="CA"))
    named = DistributionGroup.model_validate({"group_id": "west", **group})
    assert named.holds(node) is holds


def test_the_rules_in_the_documentation_are_rules() -> None:
    page = (Path(__file__).parents[3] / "docs" / "inventory.md").read_text(encoding="utf-8")
    indented = page.split("## Rules")[1].split("    name: spring")[1].split("\n\n")[0]
    document = yaml.safe_load(dedent("    name: spring" + indented))
    rules = StockRules.model_validate(document)
    shoes = a_place(category="footwear", sold_units=70)
    assert safety_stock(rules, shoes) == 2
    assert safety_stock(rules, a_place(sold_units=70)) == 15
    assert protection_levels(rules, a_place(), 21) == {"vip": 4, "marketplace": 3}
