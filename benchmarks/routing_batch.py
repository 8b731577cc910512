"""A thousand unreleased orders that contend for stock, planned together."""

import random
import time

import numpy as np

from benchmarks.routing_cases import Geography, network, order
from domain.catalogue import Product
from domain.routing.decision import DecisionRequest, RequestLine
from domain.routing.facts import KernelFacts, SkuStock
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_after, decide_batch_on
from domain.routing.supply import Taken

NODES, SKUS = 2_000, 500
POLICY = RoutingPolicy(name="bench")


def contended(
    geography: Geography, orders: int, seed: int
) -> tuple[list[DecisionRequest], KernelFacts]:
    """Popular products are asked for often; nodes hold few units of each."""
    chance = random.Random(seed)  # noqa: S311 (repeatable cases, no secret)
    noise = np.random.default_rng(seed)
    facts = network(geography, NODES, random.Random(NODES))  # noqa: S311 (repeatable, no secret)
    names = [f"P{n:04d}" for n in range(SKUS)]
    weights = [1 / (n + 1) ** 0.8 for n in range(SKUS)]
    requests: list[DecisionRequest] = []
    for number in range(orders):
        lines = chance.choice((1, 1, 2, 2, 3, 4, 5, 6))
        chosen = sorted(set(chance.choices(names, weights, k=lines)))
        requests.append(
            order(geography, chance, 1).model_copy(
                update={
                    "request_id": f"R-{number}",
                    "lines": tuple(
                        RequestLine(line_id=f"{n}", sku=sku, quantity=1 + (chance.random() < 0.2))
                        for n, sku in enumerate(chosen)
                    ),
                }
            )
        )
    is_dc = facts.node.kind == 0
    stock: dict[str, SkuStock] = {}
    for sku in names:
        nodes = np.flatnonzero(noise.random(NODES) < np.where(is_dc, 0.75, 0.3)).astype(np.int32)
        units = noise.integers(1, 4, len(nodes)).astype(np.int64) * np.where(is_dc[nodes], 3, 1)
        stock[sku] = SkuStock(nodes, units)
    products = {sku: Product(sku=sku, weight_grams=chance.randint(100, 4_000)) for sku in names}
    return requests, KernelFacts(facts, stock, products)


def figures(geography: Geography, orders: int) -> dict[str, float | int | None]:
    """Distance from the bound, and seconds of one core."""
    requests, facts = contended(geography, orders, seed=1)
    began = time.thread_time()
    found = decide_batch_on(requests, facts, POLICY)
    seconds = time.thread_time() - began
    gap = found.cost_micros / found.bound_micros - 1
    alone = _one_by_one(requests, facts)
    plans = [x.plan for x in found.decisions if x.plan is not None]
    total = sum(plan.cost_micros for plan in plans)
    print(
        f"batch: {orders} orders, {NODES} nodes: {total / orders / 1e6:.2f} an order together, "
        f"{alone / orders / 1e6:.2f} one by one; {gap:.4%} above the bound; {seconds:.1f} s; "
        f"{sum(bool(plan.missing) for plan in plans)} orders with something missing",
        flush=True,
    )
    return {"batch_gap": gap, "batch_seconds": seconds}


def _one_by_one(requests: list[DecisionRequest], facts: KernelFacts) -> int:
    taken, total = Taken(), 0
    for request in requests:
        plan = decide_after(request, facts, POLICY, taken).plan
        total += plan.cost_micros if plan is not None else 0
    return total
