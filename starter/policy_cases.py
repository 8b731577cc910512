"""Cases beside a routing policy: an order, stock and a time, and the nodes that should serve it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from config.policy_files import load_policy
from config.reading import ConfigError, describe, read_yaml
from config.samples import SAMPLE, load_exchange_rates, load_network, load_products
from domain.catalogue import Product
from domain.network import Network
from domain.orders import Order
from domain.planning import Wanted, decision_request
from domain.routing.decision import Decision, DecisionRequest, Exclusion, Option, Purpose, Snapshot
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from domain.values import Count, Id, Model, Text, UtcTime
from starter.differences import money

SUFFIX = ".cases.yaml"


class Expected(Model):
    """What must come out; what is left out may be anything."""

    nodes: tuple[Id, ...] | dict[Id, dict[Id, Count]] | None = None
    """The nodes that serve, or for each its units by SKU."""
    missing: dict[Id, Count] | None = None
    """Units by SKU that no node can serve; `{}`: all are served."""
    reason: Text = ""
    """Words that a reason for what is missing must hold."""
    cost: Decimal | None = None
    """The plan's cost in the base currency."""


class Case(Model):
    """One example. `order` is an order document; what it leaves out is filled in."""

    name: Text
    at: UtcTime
    order: dict[str, Any]
    stock: dict[Id, dict[Id, Count]]
    """SKU -> node -> units that can be sold."""
    closed_nodes: tuple[Id, ...] = ()
    expect: Expected


class Cases(Model):
    """A file of cases. Files are named relative to it; without them the sample's are taken."""

    policy: Text
    network: Text = ""
    products: Text = ""
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `wrong` says, line by line, what came out differently."""

    name: str
    wrong: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.wrong

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {"name": self.name, "passed": self.passed, "wrong": list(self.wrong)}


def run_cases(file: Path, policy: Path | None = None) -> list[Outcome]:
    """Decide every case with the kernel that routes orders; `policy` instead of the named one.

    `file` holds the cases, or is a policy with its cases beside it (`NAME.cases.yaml`). Raises
    ConfigError with the file and field that is wrong.
    """
    path = file if file.name.endswith(SUFFIX) else file.with_name(f"{file.stem}{SUFFIX}")
    if policy is None and path != file:
        policy = file
    try:
        cases = Cases.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
    beside = path.parent
    rules = load_policy(policy or beside / cases.policy, "routing").policy
    if not isinstance(rules, RoutingPolicy):
        raise ConfigError(f"{cases.policy}: only routing policies have cases")
    network = load_network(beside / cases.network if cases.network else SAMPLE / "network.yaml")
    groups = tuple(x for x in network.groups if x.group_id in rules.sourcing_groups)
    rules = rules.model_copy(update={"sourced_from": groups})
    products = load_products(
        beside / cases.products if cases.products else SAMPLE / "products.yaml"
    )
    world = _World(network, {product.sku: product for product in products}, str(path))
    return [_outcome(case, world, rules) for case in cases.cases]


@dataclass(frozen=True)
class _World:
    network: Network
    products: Mapping[str, Product]
    where: str


def _outcome(case: Case, world: _World, policy: RoutingPolicy) -> Outcome:
    order = _order(case, world)
    rates = {
        code: str(rate)
        for code, rate in load_exchange_rates().into(world.network.base_currency).items()
    }
    snapshot = Snapshot(
        availability=case.stock,
        nodes=world.network.nodes,
        services=world.network.services,
        products={
            sku: world.products[sku] for sku in {line.sku for line in order.lines} | set(case.stock)
        },
        exchange_rates=rates,
        base_currency=world.network.base_currency,
    )
    decision = decide(_request(case, order, snapshot), snapshot, policy)
    return Outcome(case.name, tuple(_wrong(case.expect, decision)))


def _request(case: Case, order: Order, snapshot: Snapshot) -> DecisionRequest:
    wanted = Wanted(
        request_id="case",
        purpose=Purpose.ROUTE,
        units={line.line_id: line.quantity for line in order.lines},
        exclusions=tuple(
            Exclusion(node_id=node, reason="closed in this case") for node in case.closed_nodes
        ),
    )
    return decision_request(order, wanted, case.at, snapshot.base_currency, snapshot.exchange_rates)


def _order(case: Case, world: _World) -> Order:
    """The case's order with what routing does not look at filled in. Raises ConfigError."""
    lines = [
        {"line_id": str(number), "unit_price": "0", **line}
        for number, line in enumerate(case.order.get("lines", ()), start=1)
    ]
    document = {
        "order_id": "case",
        "source": "cases",
        "external_id": "case",
        "currency": world.network.base_currency,
        "placed_at": case.at,
        **case.order,
        "lines": lines,
    }
    try:
        order = Order.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{world.where}: case '{case.name}': {describe(error)}") from error
    known = {node.node_id for node in world.network.nodes}
    stocked = {node for nodes in case.stock.values() for node in nodes}
    skus = {line.sku for line in order.lines} | set(case.stock)
    for what, unknown in (
        ("node", (stocked | set(case.closed_nodes)) - known),
        ("product", skus - set(world.products)),
    ):
        if unknown:
            raise ConfigError(
                f"{world.where}: case '{case.name}': no {what} '{min(unknown)}' in the network"
            )
    return order


def _wrong(expect: Expected, decision: Decision) -> list[str]:
    plan = decision.plan or Option(service_level=decision.options[0].service_level)
    found = _units_by_node(plan)
    missing: Counter[str] = Counter()
    for one in plan.missing:
        missing[one.sku] += one.quantity
    wrong = []
    if isinstance(expect.nodes, dict) and found != expect.nodes:
        wrong.append(f"served by {_shown(found)}, expected {_shown(expect.nodes)}")
    if isinstance(expect.nodes, tuple) and set(found) != set(expect.nodes):
        names = ", ".join(expect.nodes) or "no node"
        wrong.append(f"served by {_shown(found)}, expected {names}")
    if expect.missing is not None and missing != expect.missing:
        wrong.append(f"missing {dict(missing) or 'nothing'}, expected {expect.missing}")
    reasons = sorted({one.reason for one in plan.missing})
    if expect.reason and not any(expect.reason in reason for reason in reasons):
        wrong.append(f"reasons {reasons}, expected one with '{expect.reason}'")
    if expect.cost is not None and Decimal(money(plan.cost_micros)) != expect.cost:
        wrong.append(f"costs {money(plan.cost_micros)}, expected {expect.cost}")
    return wrong


def _units_by_node(plan: Option) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for shipment in plan.shipments:
        units = found.setdefault(shipment.node_id, {})
        for one in shipment.assignments:
            units[one.sku] = units.get(one.sku, 0) + one.quantity
    return found


def _shown(nodes: Mapping[str, Mapping[str, int]]) -> str:
    return (
        "; ".join(
            f"{node} ({', '.join(f'{count} {sku}' for sku, count in units.items())})"
            for node, units in sorted(nodes.items())
        )
        or "no node"
    )
