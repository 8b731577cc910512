"""Units kept for one channel; a position's `protected` is the sum of its channels' rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from domain import supply
from store.columns import ByPairs, query, statement
from store.ledger import SELLABLE

_OF_SKU = query(
    "SELECT node_id, channel, quantity, level FROM protections WHERE sku = :sku"
    " ORDER BY node_id, channel",
    "protections",
)
_OF_PAIRS = ByPairs("t.*", "protections", "ORDER BY t.node_id, t.sku, t.channel")
_PUT = statement(
    "INSERT INTO protections (sku, node_id, channel, quantity, level)"
    " VALUES (:sku, :node_id, :channel, :quantity, :level)"
    " ON CONFLICT (sku, node_id, channel)"
    " DO UPDATE SET quantity = excluded.quantity, level = excluded.level",
    "protections",
)
_DROP = statement(
    "DELETE FROM protections WHERE sku = :sku AND node_id = :node_id AND channel = :channel",
    "protections",
)
_TO_REFILL = query(
    "SELECT DISTINCT sku, node_id FROM protections JOIN positions USING (sku, node_id)"  # noqa: S608 (own names)
    f" WHERE quantity < level AND {SELLABLE} > 0 ORDER BY node_id, sku LIMIT :row_limit",
    "protections",
)

Kept = dict[str, tuple[int, int]]
"""Channel -> units kept now, and the level wanted."""


def protections_of(session: Session, sku: str) -> dict[str, Kept]:
    """Node id -> channel -> (units kept, level) of one SKU."""
    found: dict[str, Kept] = {}
    for row in session.execute(_OF_SKU, {"sku": sku}):
        found.setdefault(row.node_id, {})[row.channel] = (row.quantity, row.level)
    return found


def protections_at(
    session: Session, pairs: Iterable[tuple[str, str]], *, locked: bool = False
) -> dict[tuple[str, str], Kept]:
    """(node id, SKU) -> channel -> (units kept, level); pairs without any are left out.

    Lock the positions first: who changes a row here changes the position's `protected` too.
    """
    found: dict[tuple[str, str], Kept] = {}
    for row in _OF_PAIRS.rows(session, pairs, locked=locked):
        found.setdefault((row.node_id, row.sku), {})[row.channel] = (row.quantity, row.level)
    return found


def in_order(kept: Kept, channels: Sequence[str]) -> dict[str, supply.Kept]:
    """What a node keeps for channels, in the order they are filled: as the rules name them."""
    first = [channel for channel in channels if channel in kept]
    names = [*first, *(channel for channel in kept if channel not in first)]
    return {name: supply.Kept(quantity=kept[name][0], level=kept[name][1]) for name in names}


def keep(
    session: Session, node_id: str, sku: str, now_kept: Kept, wanted: Mapping[str, tuple[int, int]]
) -> int:
    """Replace the rows of a locked position; how much its `protected` changes by that."""
    place: dict[str, Any] = {"node_id": node_id, "sku": sku}
    gone = [{**place, "channel": channel} for channel in now_kept if channel not in wanted]
    changed = [
        {**place, "channel": channel, "quantity": quantity, "level": level}
        for channel, (quantity, level) in sorted(wanted.items())
        if now_kept.get(channel) != (quantity, level)
    ]
    if gone:
        session.execute(_DROP, gone)
    if changed:
        session.execute(_PUT, changed)
    return sum(units for units, _ in wanted.values()) - sum(units for units, _ in now_kept.values())


def to_refill(session: Session, *, limit: int) -> list[tuple[str, str]]:
    """(node id, SKU) of positions that keep too little for a channel and could keep more."""
    rows = session.execute(_TO_REFILL, {"row_limit": limit})
    return [(row.node_id, row.sku) for row in rows]
