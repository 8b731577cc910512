"""Stock at nodes: counts, adjustments, arrivals, and what may be sold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from domain.inventory import Condition, Position
from domain.stock_rules import fill_protections
from domain.values import Count, Id, Model, UtcTime
from store import ledger
from store.columns import query, statement
from store.counts import Counted, Ignored, counted_changes, was_counted
from store.granting import Grant as Grant
from store.granting import grant_all, grants_of
from store.ledger import (
    PROMISABLE,
    SELLABLE,
    Cause,
    Changes,
    lock_positions,
    position_of_row,
)
from store.opening import open_counted
from store.operations import claim, finish
from store.protection import keep, protections_at
from store.stock_rules import Keeper
from store.supply import Expected as Expected
from store.supply import expect_supply as expect_supply
from store.supply import take_expected
from store.tables.stock import BUCKETS

COUNT_CHUNK = 2_000
"""Rows of a stock count handled at once."""
MOST_NAMED = 1_000
"""Rows of one stock count that are named as ignored."""


class StockCount(Model):
    """So many units of a SKU in one condition lay at a node at `counted_at`."""

    node_id: Id
    sku: Id
    condition: Condition = Condition.USABLE
    quantity: Count
    counted_at: UtcTime


class IgnoredCount(Model):
    """A row of a count that changed nothing: what was counted at `last_counted_at` stands."""

    node_id: str
    sku: str
    condition: str
    counted_at: datetime
    last_counted_at: datetime


class StockTaken(Model):
    """What a stock count did: grants to orders that waited, and rows too old to count.

    `ignored_rows` is how many those are; of many only the first `MOST_NAMED` are in `ignored`.
    """

    grants: tuple[Grant, ...] = ()
    ignored_rows: int = 0
    ignored: tuple[IgnoredCount, ...] = ()


class Unexplained(Model):
    """A bucket that does not hold what the ledger says."""

    node_id: str
    sku: str
    bucket: str
    holds: int
    ledger: int


_ONE = query("SELECT * FROM positions WHERE sku = :sku AND node_id = :node_id", "positions")
_AVAILABLE = query(
    f"SELECT sku, node_id, {SELLABLE} AS ats FROM positions"  # noqa: S608 (no outside text in it)
    f" WHERE sku IN :skus AND {SELLABLE} > 0",
    "positions",
    lists=["skus"],
)
_PROMISABLE = query(
    f"SELECT sku, node_id, {SELLABLE} AS ats FROM positions"  # noqa: S608 (no outside text in it)
    f" WHERE sku IN :skus AND {SELLABLE} > 0 AND {PROMISABLE}",
    "positions",
    "exclusions",
    lists=["skus"],
)
_KNOWN_NODES = query(
    "SELECT node_id, document FROM nodes WHERE node_id IN :node_ids", "nodes", lists=["node_ids"]
)
_OVERSOLD = query(
    "SELECT * FROM positions WHERE held + reserved + released + claimed > usable"
    " ORDER BY node_id, sku",
    "positions",
)


def position(session: Session, node_id: str, sku: str) -> Position:
    """One position; all zero when the node never had the SKU."""
    found = session.execute(_ONE, {"node_id": node_id, "sku": sku}).mappings().one_or_none()
    return Position(node_id=node_id, sku=sku) if found is None else position_of_row(found)


def availability(
    session: Session, skus: Iterable[str], now: datetime | None = None
) -> dict[str, dict[str, int]]:
    """SKU -> node id -> sellable units; nodes with none are left out, every SKU asked is there.

    With `now`, nodes that are excluded at that time are left out too.
    """
    found: dict[str, dict[str, int]] = {sku: {} for sku in sorted(set(skus))}
    if found:
        sql = _AVAILABLE if now is None else _PROMISABLE
        asked = {"skus": list(found), "until_now": now}
        for sku, node_id, ats in session.execute(sql, asked).all():
            found[sku][node_id] = ats
    return found


def oversold(session: Session) -> list[Position]:
    """Positions that owe more units than they have: a count or adjustment found fewer."""
    return [position_of_row(row) for row in session.execute(_OVERSOLD).mappings()]


def unexplained(session: Session) -> list[Unexplained]:
    """Buckets whose value is not the sum of their ledger rows; empty unless something is broken."""
    # Buckets and ledger are compared as two lists of (position, bucket, amount) that must cancel.
    parts = " UNION ALL ".join(
        f"SELECT node_id, sku, '{bucket}' AS bucket, {bucket} AS holds, 0 AS booked FROM positions"  # noqa: S608 (own names)
        for bucket in BUCKETS
    )
    rows = session.execute(
        statement(
            "SELECT node_id, sku, bucket, sum(holds) AS holds, sum(booked) AS booked"  # noqa: S608 (own names)
            f" FROM ({parts} UNION ALL SELECT node_id, sku, bucket, 0, delta FROM ledger) AS sides"
            " GROUP BY node_id, sku, bucket HAVING sum(holds) <> sum(booked)"
            " ORDER BY node_id, sku, bucket"
        )
    )
    return [
        Unexplained(
            node_id=row.node_id,
            sku=row.sku,
            bucket=row.bucket,
            holds=int(row.holds),
            ledger=int(row.booked),
        )
        for row in rows
    ]


def set_stock(
    session: Session,
    rows: Iterable[StockCount],
    *,
    key: str,
    now: datetime,
    by_people: bool = False,
) -> StockTaken:
    """Take over a stock count: what lay there at `counted_at`, and every later move on top.

    A row older than the last count of its position and condition is ignored, which the answer
    says. A usable count settles suspect units of that time too. What orders already have stays
    theirs. Units found go to waiting backorders first: those grants are in the answer. What does
    not agree with what was believed is listed as a discrepancy. A feed means what its node
    declares; `by_people` is a cycle count, of what lies on the shelf. Raises UnknownReferenceError
    when a node is unknown, ConflictError when one feed counts the same thing twice; then nothing
    changed.
    """
    counts = sorted(rows, key=lambda row: (row.node_id, row.sku, row.condition))
    content = [row.model_dump(mode="json") for row in counts]
    kind = "cycle_count" if by_people else "count"
    first = claim(session, key, "cycle_count" if by_people else "set_stock", now, content=content)
    if not first.is_new:
        return _taken_before(first.result)
    _refuse_repeats(counts)
    nodes = known_nodes(session, {row.node_id for row in counts})
    cause = Cause(key=key, at=now, kind=kind)
    grants: list[Grant] = []
    ignored: list[Ignored] = []
    for start in range(0, len(counts), COUNT_CHUNK):
        counted = [
            Counted(
                row.node_id, row.sku, row.condition.value, row.quantity, row.counted_at, by_people
            )
            for row in counts[start : start + COUNT_CHUNK]
        ]
        opened, known = open_counted(session, counted, cause)
        positions = lock_positions(session, {(row.node_id, row.sku) for row in known})
        changes, old = counted_changes(session, known, positions, nodes, cause)
        ignored += old
        grants += settle(session, positions, changes, cause)
        grants += _settle_opened(session, opened, cause)
    taken = StockTaken(
        grants=tuple(grants),
        ignored_rows=len(ignored),
        ignored=tuple(IgnoredCount.model_validate(vars(row)) for row in ignored[:MOST_NAMED]),
    )
    finish(session, key, taken.model_dump(mode="json"))
    return taken


def adjust(
    session: Session,
    node_id: str,
    sku: str,
    condition: str,
    delta: int,
    *,
    key: str,
    now: datetime,
    reason: str,
    occurred_at: datetime | None = None,
) -> tuple[Grant, ...]:
    """Add or take units by hand; units found go to waiting backorders first.

    What occurred before the newest count of that condition was counted already: it changes
    nothing. Raises UnknownReferenceError for an unknown node, ConflictError when fewer units are
    there than are taken; then nothing changed.
    """
    content = [node_id, sku, condition, delta, reason, occurred_at]
    first = claim(session, key, "adjust", now, content=content)
    if not first.is_new:
        return grants_of(first.result)
    bucket = Condition(condition).value
    known_nodes(session, {node_id})
    pair = (node_id, sku)
    ledger.open_positions(session, [pair])
    positions = lock_positions(session, [pair])
    if occurred_at is not None and was_counted(session, *pair, bucket, occurred_at):
        return _settle_and_finish(session, positions, {}, Cause(key, now, "adjust"))
    there = getattr(positions[pair], bucket)
    if there + delta < 0:
        raise ConflictError(f"{node_id} has {there} {bucket} units of {sku}: cannot take {-delta}")
    cause = Cause(key=key, at=now, kind="adjust", reason=reason, occurred_at=occurred_at)
    return _settle_and_finish(session, positions, {pair: {bucket: delta}}, cause)


def receive(
    session: Session,
    node_id: str,
    sku: str,
    quantity: int,
    *,
    key: str,
    now: datetime,
    supply_id: str | None = None,
    occurred_at: datetime | None = None,
) -> tuple[Grant, ...]:
    """Units arrived: waiting backorders get theirs before anything is sellable.

    Each order served gets a reservation `{order_id}-g{n}` and the signal `supply_granted`. With
    `supply_id`, as many units are no longer expected. Units that came before the newest count
    were counted already. Raises UnknownReferenceError for an unknown node, ValueError when
    `quantity` is below 1.
    """
    if quantity < 1:
        raise ValueError(f"{quantity} units cannot arrive")
    content = [node_id, sku, quantity, supply_id, occurred_at]
    first = claim(session, key, "receive", now, content=content)
    if not first.is_new:
        return grants_of(first.result)
    known_nodes(session, {node_id})
    pair = (node_id, sku)
    ledger.open_positions(session, [pair])
    positions = lock_positions(session, [pair])
    if supply_id is not None:
        take_expected(session, supply_id, node_id, sku, quantity)
    cause = Cause(key=key, at=now, kind="receive", reason=supply_id, occurred_at=occurred_at)
    counted = occurred_at is not None and was_counted(session, *pair, "usable", occurred_at)
    changes = {} if counted else {pair: {"usable": quantity}}
    return _settle_and_finish(session, positions, changes, cause)


def keep_back(
    session: Session,
    node_id: str,
    sku: str,
    *,
    safety_stock: int,
    protected: Mapping[str, int],
    key: str,
    now: datetime,
) -> tuple[Grant, ...]:
    """Set by hand how many usable units are never sold, and how many are kept for a channel.

    `protected`: channel -> units wanted; no more is kept than is there. Rules in force set both
    anew. What becomes sellable goes to waiting backorders first. Raises UnknownReferenceError for
    an unknown node, ValueError for a negative number.
    """
    if safety_stock < 0 or any(units < 0 for units in protected.values()):
        raise ValueError("safety stock and protected units cannot be negative")
    content = [node_id, sku, safety_stock, dict(protected)]
    first = claim(session, key, "keep_back", now, content=content)
    if not first.is_new:
        return grants_of(first.result)
    known_nodes(session, {node_id})
    pair = (node_id, sku)
    ledger.open_positions(session, [pair])
    position = lock_positions(session, [pair])[pair]
    kept = protections_at(session, [pair]).get(pair, {})
    held = {channel: units for channel, (units, _) in kept.items()}
    pool = position.usable - position.spoken_for - safety_stock
    filled = fill_protections(protected, held, pool)
    wanted = {channel: (filled[channel], units) for channel, units in protected.items() if units}
    deltas = {
        "safety_stock": safety_stock - position.safety_stock,
        "protected": keep(session, *pair, kept, wanted),
    }
    cause = Cause(key=key, at=now, kind="keep_back")
    ledger.apply(session, {pair: deltas}, cause)
    grants = grant_all(session, {pair: deltas}, cause)
    finish(session, key, [grant.model_dump() for grant in grants])
    return tuple(grants)


def settle(
    session: Session, positions: Mapping[tuple[str, str], Position], changes: Changes, cause: Cause
) -> list[Grant]:
    """Apply changes to locked positions, with what follows from them.

    Safety stock by rule, then units for orders that wait, then what is kept for channels.
    """
    keeper = Keeper(session)
    every, places = keeper.with_safety_stock(changes, positions)
    ledger.apply(session, every, cause)
    grants = grant_all(session, every, cause)
    keeper.fill(positions, places, replace(cause, key=f"{cause.key}/keep", kind="protect"))
    return grants


def _taken_before(result: Any) -> StockTaken:
    """What the first count under the key answered; grants alone, where an earlier release did."""
    if isinstance(result, list):
        return StockTaken(grants=grants_of(result))
    return StockTaken.model_validate(result)


def _settle_opened(session: Session, opened: Changes, cause: Cause) -> list[Grant]:
    """What follows from positions that were just opened, and are this transaction's own."""
    if not opened:
        return []
    keeper = Keeper(session)
    if not keeper.has_rules:
        return grant_all(session, opened, cause)
    kept = replace(cause, key=f"{cause.key}/rules", kind="stock_rules")
    every, places = keeper.with_safety_stock({}, lock_positions(session, opened))
    ledger.apply(session, every, kept)
    grants = grant_all(session, opened, cause)
    keeper.fill(opened, places, replace(kept, key=f"{cause.key}/keep", kind="protect"))
    return grants


def _settle_and_finish(
    session: Session, positions: Mapping[tuple[str, str], Position], changes: Changes, cause: Cause
) -> tuple[Grant, ...]:
    grants = settle(session, positions, changes, cause)
    finish(session, cause.key, [grant.model_dump() for grant in grants])
    return tuple(grants)


def _refuse_repeats(counts: Sequence[StockCount]) -> None:
    for one, following in pairwise(counts):
        if (one.node_id, one.sku, one.condition) == (
            following.node_id,
            following.sku,
            following.condition,
        ):
            raise ConflictError(
                f"the feed counts {one.condition} {one.sku} at {one.node_id} more than once"
            )


def known_nodes(session: Session, node_ids: set[str]) -> dict[str, dict[str, object]]:
    """The documents of these nodes by id. Raises UnknownReferenceError for an unknown one."""
    rows = session.execute(_KNOWN_NODES, {"node_ids": sorted(node_ids)})
    found = {row.node_id: row.document for row in rows}
    unknown = sorted(node_ids - set(found))
    if unknown:
        raise UnknownReferenceError(f"no node '{unknown[0]}': import it with the network first")
    return found
