"""Positions while units are taken from them: what there is, for whom, and what was changed.

An order, a cart and a grant take by the same rule. A channel takes what is open to all first, then
what is protected for it; what is given back is open to all. The rows stay locked until the
transaction ends, always in the order of (node, SKU), so two transactions never wait for each other.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from store.driver import Rows, Sql, add, fetch, given, insert, moment
from store.ledger import SELLABLE, Cause

Place = tuple[str, str]
"""(node id, SKU)."""
Units = Mapping[Place, int]

_PAIR = {"sku": "text", "node_id": "text"}
_LOCK = given(
    f"SELECT t.node_id, t.sku, {SELLABLE} FROM {{given}}"  # noqa: S608 (own names)
    " CROSS JOIN positions t WHERE t.sku = w.sku AND t.node_id = w.node_id"
    " ORDER BY t.node_id, t.sku",
    _PAIR,
    locking=" FOR UPDATE OF t",
)
_PROTECTED = given(
    "SELECT t.node_id, t.sku, t.channel, t.quantity FROM {given}"
    " CROSS JOIN protections t WHERE t.sku = w.sku AND t.node_id = w.node_id"
    " AND t.channel = w.channel AND t.quantity > 0",
    {**_PAIR, "channel": "text"},
)
_EXCLUDED = given(
    "SELECT t.node_id, t.sku FROM {given}"
    " CROSS JOIN exclusions t WHERE t.sku = w.sku AND t.node_id = w.node_id"
    " AND (t.until IS NULL OR t.until > w.at)",
    {**_PAIR, "at": "time"},
)
_CHANGE = add("positions", _PAIR, ("held", "reserved", "claimed", "protected"))
_PROTECT = add("protections", {**_PAIR, "channel": "text"}, ("quantity",))
_LEDGER = insert(
    "ledger",
    {
        "key": "text",
        "at": "time",
        "node_id": "text",
        "sku": "text",
        "bucket": "text",
        "delta": "bigint",
        "kind": "text",
        "order_id": "text",
    },
)
_NOTHING = {"held": 0, "reserved": 0, "claimed": 0, "protected": 0}


class Shelf:
    """What can be taken at some places; changes are collected and written once, at the end."""

    def __init__(
        self, session: Session, places: Iterable[Place], channels: Iterable[str], now: datetime
    ) -> None:
        """Lock the positions and read them, with what the channels have there of their own."""
        pairs = [{"node_id": node_id, "sku": sku} for node_id, sku in sorted(set(places))]
        own = [{**pair, "channel": name} for name in sorted(set(channels) - {""}) for pair in pairs]
        # A node that is out for all its SKUs has a row of the empty SKU.
        asked = [{**pair, "at": moment(now)} for pair in pairs]
        asked += [
            {"node_id": node_id, "sku": "", "at": moment(now)}
            for node_id in sorted({pair["node_id"] for pair in pairs})
        ]
        stock, protected, excluded = fetch(
            session, (_LOCK, pairs), (_PROTECTED, own), (_EXCLUDED, asked)
        )
        self._open: dict[Place, int] = {(node_id, sku): ats for node_id, sku, ats in stock}
        self._own = {(row[0], row[1], row[2]): int(row[3]) for row in protected}
        self._closed = {(node_id, sku) for node_id, sku in excluded}
        self._changes: dict[Place, dict[str, int]] = {}
        self._spent: dict[tuple[str, str, str], int] = {}
        self._ledger: list[dict[str, Any]] = []

    def left(self, place: Place, channel: str, back: Units) -> int:
        """Units the channel may take at the place, were those in `back` given back before."""
        if place in self._closed or (place[0], "") in self._closed:
            return 0
        units = self._open.get(place, 0) + back.get(place, 0)
        return max(0, units + self._own.get((*place, channel), 0))

    def short(self, wanted: Units, channel: str, back: Units) -> tuple[Place, ...]:
        """The places that have fewer than wanted."""
        return tuple(
            place
            for place, units in sorted(wanted.items())
            if units > self.left(place, channel, back)
        )

    def give_back(self, units: Units, bucket: str, cause: Cause) -> None:
        """Let units be taken again that stood in the bucket."""
        for place, quantity in units.items():
            self._open[place] = self._open.get(place, 0) + quantity
            self._change(place, bucket, -quantity, cause)

    def take(self, wanted: Units, bucket: str, channel: str, cause: Cause) -> None:
        """Move units into the bucket. `short` must have been asked before."""
        for place, quantity in wanted.items():
            there = self._open.get(place, 0)
            open_units = min(quantity, max(there, 0))
            self._open[place] = there - open_units
            self._change(place, bucket, quantity, cause)
            if quantity > open_units:
                own = (*place, channel)
                spent = quantity - open_units
                self._own[own] -= spent
                self._spent[own] = self._spent.get(own, 0) + spent
                self._change(place, "protected", -spent, cause)

    def changes(self) -> tuple[tuple[Sql, Rows], ...]:
        """Statements with their rows: every change, and the ledger rows that explain it."""
        positions = [
            {**_NOTHING, **buckets, "node_id": node_id, "sku": sku}
            for (node_id, sku), buckets in self._changes.items()
        ]
        protections = [
            {"node_id": node_id, "sku": sku, "channel": channel, "quantity": -spent}
            for (node_id, sku, channel), spent in self._spent.items()
        ]
        return ((_CHANGE, positions), (_PROTECT, protections), (_LEDGER, self._ledger))

    def _change(self, place: Place, bucket: str, delta: int, cause: Cause) -> None:
        buckets = self._changes.setdefault(place, {})
        buckets[bucket] = buckets.get(bucket, 0) + delta
        self._ledger.append(
            {
                "key": cause.key,
                "at": moment(cause.at),
                "node_id": place[0],
                "sku": place[1],
                "bucket": bucket,
                "delta": delta,
                "kind": cause.kind,
                "order_id": cause.order_id,
            }
        )
