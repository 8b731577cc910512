"""Stock rules in force, and what they keep back of positions: safety stock and protections."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.orm import Session

from domain.inventory import Position
from domain.stock_rules import (
    Place,
    StockRules,
    fill_protections,
    protection_levels,
    safety_stock,
)
from store import ledger
from store.columns import ByPairs, query, statement
from store.ledger import Cause, Changes, lock_positions
from store.network import known_network, known_products
from store.protection import keep, protections_at

_NEWEST = query(
    "SELECT id, version, document, activated_at FROM stock_rules ORDER BY id DESC LIMIT 1",
    "stock_rules",
)
_PUT = statement(
    "INSERT INTO stock_rules (version, document, activated_at)"
    " VALUES (:version, :document, :activated_at)",
    "stock_rules",
)
_VELOCITIES = ByPairs("t.node_id, t.sku, t.units, t.days", "velocities", "")
_FORGET_VELOCITIES = statement("DELETE FROM velocities")
_MEASURE = statement(
    "INSERT INTO velocities (sku, node_id, units, days, measured_at)"
    " SELECT sku, node_id, CAST(-sum(delta) AS integer), CAST(:days AS integer), :measured_at"
    " FROM ledger WHERE bucket = 'usable' AND kind IN ('consume', 'till_sale') AND delta < 0"
    " AND at > :at_from GROUP BY sku, node_id",
    "velocities",
    "ledger",
)

Pair = tuple[str, str]
"""(node id, SKU)."""


class RulesInForce(NamedTuple):
    """The rules that hold now; `number` grows with each activation."""

    number: int
    version: str
    activated_at: datetime
    rules: StockRules


_RULES: dict[str, StockRules] = {}
"""Parsed by version: a version is a hash of the content, so it means the same in every database."""


def rules_in_force(session: Session) -> RulesInForce | None:
    """The newest rules; None before any were put."""
    row = session.execute(_NEWEST).one_or_none()
    if row is None:
        return None
    rules = _RULES.get(row.version)
    if rules is None:
        rules = _RULES[row.version] = StockRules.model_validate(row.document)
    return RulesInForce(row.id, row.version, row.activated_at, rules)


def put_rules(session: Session, rules: StockRules, now: datetime) -> RulesInForce:
    """Let these rules hold from now on; the same ones again change nothing.

    Positions follow when they are next evaluated: `reevaluate`.
    """
    found = rules_in_force(session)
    if found is None or found.version != rules.version:
        document = rules.model_dump(mode="json")
        row = {"version": rules.version, "document": document, "activated_at": now}
        session.execute(_PUT, row)
        found = rules_in_force(session)
    if found is None:
        raise RuntimeError("the rules just written cannot be read")
    return found


def measure_velocity(session: Session, days: int, now: datetime) -> None:
    """Take anew how many units of each position were handed over or sold in so many days."""
    session.execute(_FORGET_VELOCITIES)
    since = now - timedelta(days=days)
    session.execute(_MEASURE, {"days": days, "measured_at": now, "at_from": since})


class Keeper:
    """Evaluates the rules in force within one transaction; without rules, levels set by hand."""

    def __init__(self, session: Session) -> None:
        """Read which rules are in force."""
        self._session = session
        self._found = rules_in_force(session)

    @property
    def has_rules(self) -> bool:
        """Whether any rules are in force."""
        return self._found is not None

    @property
    def _rules(self) -> StockRules | None:
        return None if self._found is None else self._found.rules

    def with_safety_stock(
        self, changes: Changes, positions: Mapping[Pair, Position]
    ) -> tuple[Changes, dict[Pair, Place]]:
        """The changes, and what brings the locked positions' safety stock to what rules want.

        And what rules know of each position, for `fill`; empty without rules.
        """
        if self._rules is None:
            return changes, {}
        places = self._places(positions)
        every = {pair: dict(buckets) for pair, buckets in changes.items()}
        for pair, place in places.items():
            more = safety_stock(self._rules, place) - positions[pair].safety_stock
            if more:
                ledger.add(every, *pair, "safety_stock", more)
        return every, places

    def fill(self, pairs: Iterable[Pair], places: Mapping[Pair, Place], cause: Cause) -> None:
        """Bring the protections of locked positions to their levels, from what nobody has.

        Where less is there than is kept, less is kept.
        """
        wanted = set(pairs)
        kept = protections_at(self._session, wanted)
        rules = self._rules
        if rules is not None and rules.protections:
            concerned = wanted & (kept.keys() | places.keys())
        else:
            concerned = kept.keys() & wanted
        if not concerned:
            return
        positions = lock_positions(self._session, concerned)
        changes: Changes = {}
        for pair in sorted(concerned):
            now_kept = kept.get(pair, {})
            levels = self._levels(pair, places, positions[pair], now_kept)
            held = {channel: units for channel, (units, _) in now_kept.items()}
            pool = positions[pair].sellable + sum(held.values())
            filled = fill_protections(levels, held, pool)
            target = {channel: (filled[channel], level) for channel, level in levels.items()}
            if target != now_kept:
                more = keep(self._session, *pair, now_kept, target)
                ledger.add(changes, *pair, "protected", more)
        ledger.apply(self._session, changes, cause)

    def _levels(
        self,
        pair: Pair,
        places: Mapping[Pair, Place],
        position: Position,
        kept: Mapping[str, tuple[int, int]],
    ) -> dict[str, int]:
        if self._rules is None or pair not in places:
            return {channel: level for channel, (_, level) in kept.items()}
        beyond = position.usable - position.safety_stock
        return protection_levels(self._rules, places[pair], beyond)

    def _places(self, pairs: Iterable[Pair]) -> dict[Pair, Place]:
        known = known_network(self._session)
        wanted = list(pairs)
        products = known_products(self._session, {sku for _, sku in wanted}, known.version)
        sold = {
            (row.node_id, row.sku): (row.units, row.days)
            for row in _VELOCITIES.rows(self._session, wanted)
        }
        places: dict[Pair, Place] = {}
        for node_id, sku in wanted:
            units, days = sold.get((node_id, sku), (0, 1))
            product = products.get(sku)
            places[node_id, sku] = Place(
                node_id=node_id,
                kind=known.by_id[node_id].kind,
                groups=known.groups_of.get(node_id, frozenset()),
                sku=sku,
                category="" if product is None else product.category,
                sold_units=units,
                sold_days=days,
            )
        return places
