"""Which stores a shopper could fetch something from, nearest first."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from domain.network import Place
from domain.routing.decision import Exclusion
from domain.routing.facts import KernelFacts, microseconds, vector_of

_SAME_REGION, _SAME_COUNTRY, _ABROAD = 3.0, 5.0, 7.0
"""Ranks of nodes whose distance is not known, farther than any that is (the square of a chord)."""


def nearest_stores(
    facts: KernelFacts,
    destination: Place,
    wanted: Mapping[str, int],
    exclusions: Sequence[Exclusion],
    now: datetime,
    *,
    most: int,
) -> list[str]:
    """Ids of at most so many nodes that offer pick-up and have all units wanted, nearest first.

    Distance is great-circle; without coordinates the region, then the country, decides. Ties go to
    the smaller id. Stores abroad are not offered.
    """
    network = facts.network
    node = network.node
    open_now = node.offline_until <= microseconds(now)
    possible = node.offers_pickup & node.active & open_now
    for sku, units in wanted.items():
        has = np.zeros(len(network.nodes), dtype=np.bool_)
        there = facts.stock[sku]
        has[there.nodes[there.units >= units]] = True
        possible &= has
    for excluded in exclusions:
        if excluded.node_id in network.index and (excluded.sku is None or excluded.sku in wanted):
            possible[network.index[excluded.node_id]] = False
    far = _ranks(facts, destination)
    possible &= far < _ABROAD
    found = np.flatnonzero(possible)
    nearest = found[np.argsort(far[found], kind="stable")][:most]
    return [network.nodes[number].node_id for number in nearest.tolist()]


def _ranks(facts: KernelFacts, destination: Place) -> NDArray[np.float64]:
    network, node = facts.network, facts.network.node
    country = network.countries.get(destination.country, -2)
    region = network.regions.get(destination.region, -2)
    at_home = node.country == country
    far = np.where(at_home & (node.region == region), _SAME_REGION, _SAME_COUNTRY)
    point = vector_of(destination)
    if point is not None:
        chord = ((node.vector - np.array(point)) ** 2).sum(axis=1)
        # A chord's square is at most 4: halved it ranks below all that are not located.
        far = np.where(node.is_located, chord / 2, far)
    return np.where(at_home, far, _ABROAD)
