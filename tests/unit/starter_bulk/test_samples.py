from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from config.policy_files import load_policy
from config.reading import ConfigError
from config.samples import load_exchange_rates, load_network, load_sample
from domain.network import NodeKind
from domain.orders import Order
from domain.process_policy import ProcessPolicy
from starter.commands.demo_orders import demo_orders


def test_the_sample_network_has_all_kinds_of_nodes() -> None:
    network = load_sample().network

    assert Counter(node.kind for node in network.nodes) == {
        NodeKind.DC: 3,
        NodeKind.STORE: 7,
        NodeKind.SUPPLIER: 1,
        NodeKind.THREEPL: 2,
    }
    assert [x.node_id for x in network.nodes if x.connection_id is None] == ["store-portland"]
    assert all(
        node.hours.days == (0, 1, 2, 3, 4, 5, 6)
        for node in network.nodes
        if node.kind is NodeKind.DC
    )


def test_stock_names_only_known_products_and_nodes() -> None:
    sample = load_sample()

    nodes = {node.node_id for node in sample.network.nodes}
    skus = {product.sku for product in sample.products}

    assert len(skus) == len(sample.products) == 44
    assert {x.node_id for x in sample.stock} == nodes
    assert {x.sku for x in sample.stock} == skus
    assert sum(x.quantity for x in sample.stock if x.sku == "CONSOLE-RETRO") == 0


@pytest.mark.parametrize("fast", [False, True])
def test_business_orders_need_a_manager_then_a_finance_director(fast: bool) -> None:
    policies = load_sample(fast=fast).policies

    (policy,) = [x.policy for x in policies if x.policy.name.endswith("b2b")]

    assert isinstance(policy, ProcessPolicy)
    assert [(x.level, x.role, x.condition.min_total) for x in policy.approvals] == [
        (1, "manager", Decimal(5000)),
        (2, "finance_director", Decimal(20000)),
    ]


def test_fast_policies_wait_seconds_where_others_wait_hours() -> None:
    waits = [
        policy.policy.timings.acknowledgement
        for fast in (False, True)
        for policy in load_sample(fast=fast).policies
        if isinstance(policy.policy, ProcessPolicy)
    ]

    assert waits == [
        timedelta(hours=4),
        timedelta(hours=8),
        timedelta(seconds=4),
        timedelta(seconds=4),
    ]


def test_exchange_rates_can_be_seen_from_any_currency() -> None:
    rates = load_exchange_rates()

    assert rates.into("USD")["BRL"] == Decimal("0.18")
    assert rates.into("BRL")["USD"] == Decimal("5.55555556")
    assert rates.into("BRL")["BRL"] == 1
    with pytest.raises(ConfigError, match="no exchange rate between USD and CHF"):
        rates.into("CHF")


def test_a_policys_kind_is_told_by_its_fields(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nshipment_cost: '2.00'\n")
    (tmp_path / "b.yaml").write_text("name: b\ntimings: {remorse: PT1H}\n")

    assert load_policy(tmp_path / "a.yaml").kind == "routing"
    assert load_policy(tmp_path / "b.yaml").kind == "process"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", ":1:8: no YAML"),
        ("- a\n", "a policy is a mapping that starts with `name:`"),
        ("name: a\nshipment_cost: cheap\n", "shipment_cost: "),
        ("name: a\ntimings: {remorse: soon}\n", r"timings\.remorse: "),
        ("name: a\nunknown: 1\n", "unknown: unknown field"),
    ],
)
def test_a_bad_policy_is_refused_with_file_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=message) as refused:
        load_policy(path)

    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nodes: [{node_id: a, kind: dc, place: {country: US}, connection_id: x}]",
            "node 'a' names no known connection 'x'",
        ),
        (
            "nodes: [{node_id: a, kind: dc, place: {country: US}, services: [x]}]",
            "node 'a' names no known service 'x'",
        ),
        (
            "nodes: [{node_id: a, kind: dc, place: {country: US}},"
            " {node_id: a, kind: dc, place: {country: US}}]",
            "node 'a' stands more than once",
        ),
        ("groups: [{group_id: g}, {group_id: g, kinds: [dc]}]", "group 'g' stands more than once"),
        (
            "services: [{service_id: s, connection_id: x, carrier: c, level: standard, base: '1'}]",
            "service 's' names no known connection 'x'",
        ),
    ],
)
def test_a_network_whose_references_do_not_hold_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "network.yaml").write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_network(tmp_path / "network.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_network(tmp_path / "network.yaml")


def test_the_demo_shows_every_situation_with_valid_orders_of_known_products() -> None:
    orders = demo_orders(datetime(2026, 5, 1, tzinfo=UTC))

    skus = {product.sku for product in load_sample().products}
    assert len(orders) == len({x.order_id for x in orders}) == 63
    for one in orders:
        assert {x.sku for x in Order.model_validate(one.document).lines} <= skus
    assert Counter(x.ends for x in orders) == {
        "completed": 57,
        "pending_approval": 2,
        "cancelled": 1,
        "rejected": 1,
        "hold": 1,
        "attention": 1,
    }
