"""Taking plans: exactly a plan's stock and capacity, all of it or nothing, and once.

One reservation or many are taken by the same few statements, whose rows travel together. Threads
of a process that reserve at the same time share a transaction (`Reserver`): a SKU that everybody
wants is then limited by what one transaction can do, not by how many can be committed.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from domain.errors import ConflictError, ShortageError, UnknownReferenceError
from domain.plans import Plan
from store import hold_rows
from store.capacity import Load, Room, WorkDay, give_back_capacity, take_capacity
from store.driver import Sql, fetch, given, insert, moment, write
from store.engine import transaction
from store.hold_rows import HoldLine
from store.ledger import Cause
from store.reservation_rows import (
    ReservationRow,
    free_units,
    locked_reservations,
    reserved_before,
    settle_plans,
    update_rows,
)
from store.shelf import Place, Shelf

MOST_AT_ONCE = 64
"""Reservations of one transaction: more only make each wait longer."""
_KIND = "reserve_plan"

_CLAIM = given(
    "INSERT INTO operations (key, kind, at, result)"
    " SELECT w.key, w.kind, w.at, w.result FROM {given} WHERE true ORDER BY w.key"
    " ON CONFLICT DO NOTHING RETURNING key",
    {"key": "text", "kind": "text", "at": "time", "result": "document"},
)
_CLAIMED = given(
    "SELECT t.key, t.kind FROM {given} CROSS JOIN operations t WHERE t.key = w.key",
    {"key": "text"},
)
_FORGET = Sql(
    "DELETE FROM operations WHERE key = :key",
    "DELETE FROM operations t USING json_to_recordset(CAST(%s AS json)) AS w(key text)"
    " WHERE t.key = w.key",
    many=True,
)
_UNCOUNTED = given(
    "SELECT t.sku FROM {given} CROSS JOIN products t"
    " WHERE t.sku = w.sku AND t.supply_mode <> 'stocked'",
    {"sku": "text"},
)
_CHANNELS = given(
    "SELECT t.order_id, t.channel FROM {given} CROSS JOIN orders t WHERE t.order_id = w.order_id",
    {"order_id": "text"},
)
_INSERT = insert(
    "reservations",
    {
        "reservation_id": "text",
        "line_id": "text",
        "node_id": "text",
        "sku": "text",
        "order_id": "text",
        "plan_version": "bigint",
        "work_date": "text",
        "quantity": "bigint",
        "reserved": "bigint",
        "released": "bigint",
        "consumed": "bigint",
        "freed": "bigint",
        "granted": "boolean",
        "counted": "boolean",
    },
)
_SAVE_PLAN = insert(
    "plans",
    {
        "order_id": "text",
        "plan_version": "bigint",
        "state": "text",
        "document": "document",
        "saved_at": "time",
    },
    "ON CONFLICT (order_id, plan_version) DO UPDATE SET state = excluded.state,"
    " document = excluded.document, saved_at = excluded.saved_at WHERE plans.state = 'planned'",
)


@dataclass(frozen=True)
class Ask:
    """A plan to take for an order. `replaces` are reservations of it that are given up for it.

    What a cart holds for the order is given up too. The channel, the order's own unless named, may
    use what is protected for it.
    """

    order_id: str
    plan: Plan
    key: str
    now: datetime
    channel: str | None = None
    replaces: tuple[str, ...] = ()

    @property
    def reservation_id(self) -> str:
        """The id the reservation has, once taken."""
        return f"{self.order_id}-r{self.plan.plan_version}"


@dataclass
class _Wish:
    """An ask while it is decided: its rows, what it takes and what it gives back."""

    ask: Ask
    channel: str
    rows: list[dict[str, Any]]
    held: Sequence[HoldLine]
    replaced: Sequence[ReservationRow]
    stock: dict[Place, int] = field(default_factory=dict)
    work: dict[WorkDay, int] = field(default_factory=dict)
    replaced_back: dict[WorkDay, Load] = field(default_factory=dict)
    back: dict[str, dict[Place, int]] = field(default_factory=dict)
    """Bucket -> place -> units given back."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if row["counted"]:
                _count_up(self.stock, (row["node_id"], row["sku"]), row["quantity"])
            _count_up(self.work, (row["node_id"], row["work_date"]), row["quantity"])
        if self.held:
            self.back["held"] = hold_rows.units_of(self.held)
        reserved = {
            (row.reservation_id, row.line_id, row.node_id): row.reserved
            for row in self.replaced
            if row.reserved
        }
        changes, self.replaced_back = free_units(self.replaced, reserved)
        for place, buckets in changes.items():
            for bucket, delta in buckets.items():
                _count_up(self.back.setdefault(bucket, {}), place, -delta)

    @property
    def places(self) -> set[Place]:
        """Every position it changes."""
        return {*self.stock, *(place for units in self.back.values() for place in units)}

    @property
    def freed(self) -> dict[Place, int]:
        """Units given back by place, from whatever bucket."""
        total: dict[Place, int] = {}
        for units in self.back.values():
            for place, quantity in units.items():
                _count_up(total, place, quantity)
        return total


def reserve_plan(
    session: Session,
    order_id: str,
    plan: Plan,
    *,
    key: str,
    now: datetime,
    replaces: Iterable[str] = (),
    channel: str | None = None,
) -> str:
    """Take exactly the plan's stock and capacity; the reservation's id.

    Reservations in `replaces` (an older plan of the order, grants) and what a cart holds for the
    order are given up, so their units can be used again and nobody else gets in between. Raises
    ShortageError with every (node, SKU) that had too little, and (node, '') for capacity, and
    ConflictError when that plan version was reserved under another key; the caller's transaction
    must then roll back.
    """
    ask = Ask(order_id, plan, key, now, channel, tuple(replaces))
    [outcome] = reserve_plans(session, [ask])
    if isinstance(outcome, ShortageError):
        raise outcome
    return outcome


def reserve_plans(session: Session, asks: Sequence[Ask]) -> list[str | ShortageError]:
    """Take each plan in turn, or say where it is short; what was refused changed nothing.

    An ask that repeats a key is answered like the first. Raises ConflictError when a key or a plan
    version was used for something else, ShortageError when capacity was taken by others at this
    very moment; the caller's transaction must then roll back.
    """
    distinct = {ask.key: ask for ask in reversed(asks)}
    wishes = _begin(session, [distinct[key] for key in sorted(distinct)])
    refused: dict[str, ShortageError] = {}
    if wishes:
        refused = _Taking(session, wishes).run()
    return [refused.get(ask.key, distinct[ask.key].reservation_id) for ask in asks]


def _begin(session: Session, asks: Sequence[Ask]) -> list[_Wish]:
    """Claim the keys; the asks that are new, with what they give up, locked."""
    claims = [
        {
            "key": ask.key,
            "kind": _KIND,
            "at": moment(ask.now),
            "result": json.dumps(ask.reservation_id),
        }
        for ask in asks
    ]
    skus = {line.sku for ask in asks for part in ask.plan.fulfillments for line in part.lines}
    orders = [{"order_id": order_id} for order_id in sorted({ask.order_id for ask in asks})]
    claimed, uncounted, channels, held = fetch(
        session,
        (_CLAIM, claims),
        (_UNCOUNTED, [{"sku": sku} for sku in sorted(skus)]),
        (_CHANNELS, orders),
        (hold_rows.OF_ORDERS, orders),
    )
    new = {key for (key,) in claimed}
    _refuse_other_kinds(session, [ask.key for ask in asks if ask.key not in new])
    replaced = {old for ask in asks if ask.key in new for old in ask.replaces}
    rows = locked_reservations(session, replaced) if replaced else []
    endless = {sku for (sku,) in uncounted}
    lines = [HoldLine(*row) for row in held]
    channel_of = dict(channels)
    wishes = []
    for ask in asks:
        if ask.key in new:
            # Each thing is given up once, also where two asks of a batch are of one order.
            mine = [line for line in lines if line.order_id == ask.order_id]
            old = [row for row in rows if row.reservation_id in ask.replaces]
            _refuse_others(ask, old)
            lines = [line for line in lines if line not in mine]
            rows = [row for row in rows if row not in old]
            channel = ask.channel
            if channel is None:
                channel = channel_of.get(ask.order_id, "")
            wishes.append(_Wish(ask, channel, _rows_of(ask, endless), mine, old))
    return wishes


def _refuse_others(ask: Ask, rows: Sequence[ReservationRow]) -> None:
    for row in rows:
        if row.order_id != ask.order_id:
            raise UnknownReferenceError(
                f"'{row.reservation_id}' is no reservation of order '{ask.order_id}'"
            )


def _refuse_other_kinds(session: Session, keys: Sequence[str]) -> None:
    [found] = fetch(session, (_CLAIMED, [{"key": key} for key in keys]))
    for key, kind in found:
        if kind != _KIND:
            raise ConflictError(f"key '{key}' was used for '{kind}'; use another for '{_KIND}'")


class _Taking:
    """Decides wishes one after the other over one view of stock and capacity, and writes them."""

    def __init__(self, session: Session, wishes: Sequence[_Wish]) -> None:
        self._session = session
        self._wishes = wishes
        self._granted: list[_Wish] = []
        self._latest = max(wish.ask.now for wish in wishes)
        self._shelf = Shelf(
            session,
            (place for wish in wishes for place in wish.places),
            (wish.channel for wish in wishes),
            self._latest,
        )
        self._room = Room(session, (day for wish in wishes for day in wish.work))

    def run(self) -> dict[str, ShortageError]:
        """Take what can be taken; key -> refusal of the rest."""
        refused = self._decide(self._wishes)
        short = {place for wish in refused for place in self._short(wish)}
        if hold_rows.free_expired(self._session, self._shelf, short, self._latest):
            refused = self._decide(refused)
        errors = {wish.ask.key: self._error(wish) for wish in refused}
        self._write(list(errors))
        return errors

    def _decide(self, wishes: Sequence[_Wish]) -> list[_Wish]:
        refused = []
        for wish in wishes:
            if self._short(wish) or self._full(wish):
                refused.append(wish)
            else:
                self._take(wish)
        return refused

    def _short(self, wish: _Wish) -> tuple[Place, ...]:
        return self._shelf.short(wish.stock, wish.channel, wish.freed)

    def _full(self, wish: _Wish) -> tuple[str, ...]:
        return self._room.full(wish.work, wish.replaced_back)

    def _error(self, wish: _Wish) -> ShortageError:
        return shortage(self._short(wish), self._full(wish))

    def _take(self, wish: _Wish) -> None:
        ask = wish.ask
        for bucket, units in wish.back.items():
            kind = "use_hold" if bucket == "held" else "replace"
            self._shelf.give_back(units, bucket, Cause(ask.key, ask.now, kind, ask.order_id))
        # A key of its own: with `replaces` the same bucket may change twice in one operation.
        key = f"{ask.key}/take" if wish.replaced else ask.key
        cause = Cause(key, ask.now, "reserve", ask.order_id)
        self._shelf.take(wish.stock, "reserved", wish.channel, cause)
        self._room.take(wish.work, wish.replaced_back)
        self._granted.append(wish)

    def _write(self, refused: Sequence[str]) -> None:
        session, granted = self._session, self._granted
        plans = [
            {
                "order_id": wish.ask.order_id,
                "plan_version": wish.ask.plan.plan_version,
                "state": "reserved",
                "document": wish.ask.plan.model_dump_json(),
                "saved_at": moment(wish.ask.now),
            }
            for wish in granted
        ]
        rows = [row for wish in granted for row in wish.rows]
        used = {line.hold_id: "used" for wish in granted for line in wish.held}
        saved, *_ = write(
            session,
            (_SAVE_PLAN, plans),
            *self._shelf.changes(),
            *hold_rows.endings(used),
            (_FORGET, [{"key": key} for key in refused]),
        )
        if saved < len(plans):
            first = granted[0].ask
            raise reserved_before(first.order_id, first.plan.plan_version)
        write(session, (_INSERT, rows))
        for wish in granted:
            if wish.replaced:
                update_rows(session, wish.replaced)
                give_back_capacity(session, wish.replaced_back)
                settle_plans(session, wish.ask.order_id, wish.replaced)
        # Last: many orders share a node's day, and wait here for each other until the commit.
        full = take_capacity(session, [wish.work for wish in granted])
        if full:
            raise shortage((), full)


def shortage(short: Sequence[Place], full: Sequence[str]) -> ShortageError:
    """The error for places with too few units and nodes without capacity."""
    refusals = (*short, *((node_id, "") for node_id in full))
    parts = [
        f"{sku} at {node_id}" if sku else f"capacity of {node_id}" for node_id, sku in refusals
    ]
    return ShortageError(f"not enough: {', '.join(parts)}", short=refusals)


def _count_up(counts: dict[Any, int], key: Any, quantity: int) -> None:
    counts[key] = counts.get(key, 0) + quantity


def _rows_of(ask: Ask, uncounted: set[str]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for planned in ask.plan.fulfillments:
        for line in planned.lines:
            row = rows.setdefault(
                (line.line_id, planned.node_id),
                {
                    "reservation_id": ask.reservation_id,
                    "line_id": line.line_id,
                    "node_id": planned.node_id,
                    "sku": line.sku,
                    "order_id": ask.order_id,
                    "plan_version": ask.plan.plan_version,
                    "work_date": planned.work_date,
                    "quantity": 0,
                    "reserved": 0,
                    "released": 0,
                    "consumed": 0,
                    "freed": 0,
                    "granted": False,
                    "counted": line.sku not in uncounted,
                },
            )
            if row["work_date"] != planned.work_date:
                raise ConflictError(
                    f"plan {ask.plan.plan_version} uses {planned.node_id} for line {line.line_id}"
                    " on two work dates"
                )
            row["quantity"] += line.quantity
            row["reserved"] += line.quantity
    return list(rows.values())


def _nothing(_session: Session) -> None:
    return


@dataclass
class _Waiting:
    """A thread's ask; `woken` says that it was served, or else that the thread is to serve."""

    ask: Ask
    then: Callable[[Session], None]
    woken: threading.Event = field(default_factory=threading.Event)
    outcome: str | Exception | None = None


class Reserver:
    """Takes plans for the threads of a process, those that come at the same time together.

    The first thread serves itself and whoever waits, in one transaction; who comes meanwhile is
    served by the next. Nothing runs in the background and nobody waits for company.
    """

    def __init__(self, engine: Engine) -> None:
        """Reserve in that database."""
        self._engine = engine
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._is_serving = False

    def reserve(self, ask: Ask, then: Callable[[Session], None] = _nothing) -> str:
        """Take the plan, and do `then` in the same transaction; the reservation's id.

        Raises ShortageError, and then nothing was changed, and whatever else went wrong.
        """
        mine = _Waiting(ask, then)
        with self._lock:
            self._queue.append(mine)
            serves, self._is_serving = not self._is_serving, True
        if not serves:
            mine.woken.wait()
        if mine.outcome is None:
            self._serve_next()
        if isinstance(mine.outcome, str):
            return mine.outcome
        raise mine.outcome or RuntimeError("a reservation was left without an answer")

    def _serve_next(self) -> None:
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(MOST_AT_ONCE, len(self._queue)))]
        try:
            self._serve(batch)
        finally:
            with self._lock:
                following = self._queue[0] if self._queue else None
                self._is_serving = following is not None
            for waiting in batch:
                waiting.woken.set()
            if following is not None:
                following.woken.set()

    def _serve(self, batch: Sequence[_Waiting]) -> None:
        try:
            with transaction(self._engine) as session:
                outcomes = reserve_plans(session, [waiting.ask for waiting in batch])
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    if isinstance(outcome, str):
                        waiting.then(session)
        except Exception as error:
            if len(batch) == 1:
                batch[0].outcome = error
                return
            # One that fails must not take the others along: each alone.
            for waiting in batch:
                self._serve([waiting])
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
