"""What the goods themselves cost at a node: margin, markdown, velocity and stock-out, in micros."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.catalogue import Product
from domain.errors import FinalError
from domain.routing.conditions import exact
from domain.routing.decision import StockFact
from domain.routing.facts import Ints, NetworkFacts
from domain.routing.money import micros
from domain.routing.pricing import IMPOSSIBLE
from domain.routing.strategy import Criteria, StockOut
from domain.routing.task import GroupTask
from domain.values import MICROS

_REFUSED = IMPOSSIBLE // 8
_NO_FACT = StockFact(node_id="none", sku="none")
_MOST = 1 << 60
_MOST_TABLES = 20_000


class _Table(NamedTuple):
    """The prices of one SKU's units, worked out once for a network and a policy."""

    network: NetworkFacts
    criteria: Criteria
    product: Product | None
    facts: Sequence[StockFact]
    usual: int
    """Micros of a unit at a node of which nothing is known."""
    nodes: Ints
    """Indexes of the nodes of which something is."""
    each: Ints
    """Micros of a unit there, the price of the last units not counted."""
    wanted: Ints
    """Millionths of a unit that the node itself sells in the days that stock is to last."""


_tables: dict[tuple[int, int, str], _Table] = {}


def atom_prices(task: GroupTask, nodes: NDArray[np.int64], have: Ints) -> Ints:
    """(row, atom): what the units themselves cost at the node; no columns: nothing.

    Raises FinalError when that is absurd.
    """
    criteria, demand = task.policy.criteria, task.demand
    wanted = (criteria.markdown, criteria.velocity, criteria.stock_out)
    if not criteria.goods_cost_weight and all(x is None for x in wanted):
        return np.zeros((len(nodes), 0), dtype=np.int64)
    row_of = np.full(len(task.facts.network.nodes), -1, dtype=np.int64)
    row_of[nodes] = np.arange(len(nodes))
    prices = np.zeros((len(nodes), len(demand.atoms)), dtype=np.int64)
    for number, atom in enumerate(demand.atoms):
        for sku, units in atom.needs:
            table = _table(task, demand.skus[sku])
            usual = min(table.usual, _REFUSED // units) * units
            column = np.full(len(nodes), usual, dtype=np.int64)
            rows = row_of[table.nodes]
            found = np.flatnonzero(rows >= 0)
            each = table.each[found]
            if criteria.stock_out is not None:
                left = have[rows[found], sku] - units
                each = each + _of_last(criteria.stock_out, table.wanted[found], left)
            column[rows[found]] = np.minimum(each, _REFUSED // units) * units
            prices[:, number] = np.minimum(prices[:, number] + column, _REFUSED)
    if prices.max(axis=0, initial=0).sum(dtype=np.float64) >= _REFUSED:
        raise FinalError("units would cost more than 10^11: check criteria and stock facts")
    return prices


def _of_last(rule: StockOut, wanted: Ints, left: Ints) -> Ints:
    """Micros more for a unit where so many are left after the line."""
    cost, kept = micros(rule.cost), np.maximum(0, left) * MICROS
    prices = np.zeros(len(wanted), dtype=np.int64)
    for row in np.flatnonzero(kept < wanted).tolist():
        # Python's integers, as the product may need more than 64 bits.
        most = int(wanted[row])
        prices[row] = min(cost * (most - int(kept[row])) // most, _REFUSED)
    return prices


def _table(task: GroupTask, sku: str) -> _Table:
    network, criteria = task.facts.network, task.policy.criteria
    product, facts = task.facts.products.get(sku), task.facts.stock_facts.get(sku, ())
    key = (id(network), id(criteria), sku)
    found = _tables.get(key)
    looked_at = (network, criteria, product, facts)
    if found is None or any(x is not y for x, y in zip(found[:4], looked_at, strict=True)):
        if len(_tables) >= _MOST_TABLES:
            _tables.clear()
        found = _tables[key] = _worked_out(network, criteria, product, facts)
    return found


def _worked_out(
    network: NetworkFacts, criteria: Criteria, product: Product | None, facts: Sequence[StockFact]
) -> _Table:
    known = {
        network.index[node_id]: fact
        for node_id, fact in known_of(product, facts).items()
        if node_id in network.index
    }

    def whole(amounts: Iterable[int]) -> Ints:
        return np.array([min(x, _MOST) for x in amounts], dtype=np.int64)

    days = 0 if criteria.stock_out is None else criteria.stock_out.days
    return _Table(
        network,
        criteria,
        product,
        facts,
        usual=_unit_price(criteria, product, _NO_FACT),
        nodes=np.array(list(known), dtype=np.int64),
        each=whole(_unit_price(criteria, product, fact) for fact in known.values()),
        wanted=whole(micros(fact.daily_demand) * days for fact in known.values()),
    )


def known_of(product: Product | None, facts: Sequence[StockFact]) -> dict[str, StockFact]:
    """Node id -> what is known of the product's units there: facts, else its attributes.

    The attributes `unit_cost_at`, `markdown_at` and `daily_demand_at` hold numbers by node id; what
    is no number of 0 or more counts as not said.
    """
    said: dict[str, dict[str, Decimal]] = {}
    for name, attribute in _ATTRIBUTES.items():
        values = product.attributes.get(attribute) if product is not None else None
        for node_id, value in values.items() if isinstance(values, dict) else ():
            number = exact(value)
            if number is not None and number >= 0:
                said.setdefault(str(node_id), {})[name] = number
    found = {
        node_id: _NO_FACT.model_copy(update={"node_id": node_id, **values})
        for node_id, values in said.items()
    }
    return found | {fact.node_id: fact for fact in facts}


_ATTRIBUTES = {
    "unit_cost": "unit_cost_at",
    "markdown": "markdown_at",
    "daily_demand": "daily_demand_at",
}


def _unit_price(criteria: Criteria, product: Product | None, fact: StockFact) -> int:
    """Micros, each part rounded down."""
    unit_cost = product.unit_cost if product is not None else Decimal(0)
    if fact.unit_cost is not None:
        unit_cost = fact.unit_cost
    each = micros(unit_cost * criteria.goods_cost_weight)
    if criteria.markdown is not None:
        lost = max(Decimal(0), criteria.markdown.up_to - fact.markdown)
        each += micros(lost * criteria.markdown.weight)
    if criteria.velocity is not None:
        share = min(Decimal(1), fact.daily_demand / criteria.velocity.fast)
        each += micros(criteria.velocity.cost * share)
    return each
