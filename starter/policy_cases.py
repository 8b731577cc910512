"""Cases beside a policy; of a routing policy an order, stock and a time, and who should serve."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from config.placed_models import read_as, read_document
from config.policy_files import load_policy
from config.reading import ConfigError
from config.yaml_places import PlacedDocument
from domain.orders import Order
from domain.planning import Wanted, decision_request
from domain.process_policy import ProcessPolicy
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Exclusion,
    Option,
    Purpose,
    Snapshot,
    StockFact,
)
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from domain.values import Count, Id, Model, Text, UtcTime
from starter.case_files import CaseFile, Outcome, World, order_of, refuse_unknown, world_of
from starter.differences import money
from starter.process_cases import ProcessCases, process_outcomes

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
    strategy: Text = ""
    """The strategy that the order falls under."""
    relaxed: tuple[Text, ...] | None = None
    """Limits dropped and after-actions taken, in their order."""
    after: Text | None = None
    """What is wanted for what is missing: `backorder`, `customer_care` or nothing."""


class Case(Model):
    """One example. `order` is an order document; what it leaves out is filled in."""

    name: Text
    at: UtcTime
    order: dict[str, Any]
    stock: dict[Id, dict[Id, Count]]
    """SKU -> node -> units that can be sold."""
    closed_nodes: tuple[Id, ...] = ()
    stock_facts: tuple[StockFact, ...] = ()
    """What is known of units beyond their number, for criteria that look at it."""
    expect: Expected


class RoutingCases(CaseFile):
    """A file of cases of a routing policy."""

    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


def run_cases(file: Path, policy: Path | None = None) -> list[Outcome]:
    """Decide every case as orders are decided; `policy` instead of the one that the file names.

    `file` holds the cases, or is a policy with its cases beside it (`NAME.cases.yaml`). Raises
    ConfigError with the file, line and field that is wrong.
    """
    path = file if file.name.endswith(SUFFIX) else file.with_name(f"{file.stem}{SUFFIX}")
    if policy is None and path != file:
        policy = file
    document = read_document(path)
    rules = load_policy(policy or path.parent / _named_in(document, path)).policy
    if isinstance(rules, ProcessPolicy):
        handled = read_as(ProcessCases, document, path)
        return process_outcomes(handled, world_of(handled, path), rules)
    routed = read_as(RoutingCases, document, path)
    return _routing_outcomes(routed, world_of(routed, path), rules)


def _named_in(document: PlacedDocument, path: Path) -> str:
    """The policy's file, as the file of cases names it."""
    named = document.content.get("policy") if isinstance(document.content, dict) else None
    if not isinstance(named, str):
        raise ConfigError(f"{path}: name the policy's file: `policy: FILE`")
    return named


def _routing_outcomes(cases: RoutingCases, world: World, policy: RoutingPolicy) -> list[Outcome]:
    groups = tuple(x for x in world.network.groups if x.group_id in policy.group_names)
    rules = policy.model_copy(update={"sourced_from": groups})
    return [_outcome(case, world, rules) for case in cases.cases]


def _outcome(case: Case, world: World, policy: RoutingPolicy) -> Outcome:
    order = _order(case, world)
    snapshot = Snapshot(
        availability=case.stock,
        nodes=world.network.nodes,
        services=world.network.services,
        products={
            sku: world.products[sku] for sku in {line.sku for line in order.lines} | set(case.stock)
        },
        exchange_rates=world.rates,
        base_currency=world.network.base_currency,
        stock_facts=case.stock_facts,
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


def _order(case: Case, world: World) -> Order:
    """The case's order. Raises ConfigError, also for what the network lacks."""
    order = order_of(case.name, case.order, case.at, world)
    known = {node.node_id for node in world.network.nodes}
    stocked = {node for nodes in case.stock.values() for node in nodes}
    refuse_unknown(case.name, "node", (stocked | set(case.closed_nodes)) - known, world)
    refuse_unknown(case.name, "product", set(case.stock) - set(world.products), world)
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
    return [*wrong, *_wrong_way(expect, decision)]


def _wrong_way(expect: Expected, decision: Decision) -> list[str]:
    """What came out differently of how the plan came about."""
    wrong = []
    if expect.strategy and decision.strategy != expect.strategy:
        wrong.append(f"strategy '{decision.strategy}', expected '{expect.strategy}'")
    if expect.relaxed is not None and decision.relaxed != expect.relaxed:
        steps = ", ".join(decision.relaxed) or "nothing"
        wrong.append(f"relaxed {steps}, expected {', '.join(expect.relaxed) or 'nothing'}")
    if expect.after is not None and decision.after != expect.after:
        wrong.append(f"after that '{decision.after}', expected '{expect.after}'")
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
