"""Taking plans: exactly a plan's stock and capacity, all of it or nothing, and once.

One reservation or many are taken by the same few statements, whose rows travel together.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import ConflictError, ShortageError, UnknownReferenceError
from domain.plans import Plan
from store import hold_rows, ledger
from store.capacity import Load, Room, WorkDay, give_back_capacity, take_capacity
from store.driver import delete, fetch, given, insert, moment, write
from store.granting import grant_all
from store.hold_rows import HoldLine
from store.ledger import Cause, Changes
from store.operations import content_hash, used_for_another
from store.reservation_rows import (
    ReservationRow,
    free_units,
    locked_reservations,
    reserved_before,
    settle_plans,
    update_rows,
)
from store.shelf import Place, Shelf

_KIND = "reserve_plan"
Held = Mapping[tuple[str, str], int]
"""(node id, line id) -> units."""

_CLAIM = given(
    "INSERT INTO operations (key, kind, at, result, content)"
    " SELECT w.key, w.kind, w.at, w.result, w.content FROM {given} WHERE true ORDER BY w.key"
    " ON CONFLICT DO NOTHING RETURNING key",
    {"key": "text", "kind": "text", "at": "time", "result": "document", "content": "text"},
)
_CLAIMED = given(
    "SELECT t.key, t.kind, t.content, CAST(t.result AS text) FROM {given}"
    " CROSS JOIN operations t WHERE t.key = w.key",
    {"key": "text"},
)
_FORGET = delete("operations", "key")
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

    What is held for the order is given up too, unless the plan is of other units (`keeps_holds`).
    The channel, the order's own unless named, may use what is protected for it.
    """

    order_id: str
    plan: Plan
    key: str
    now: datetime
    channel: str | None = None
    replaces: tuple[str, ...] = ()
    keeps_holds: bool = False

    @property
    def reservation_id(self) -> str:
        """The id the reservation has, once taken."""
        return f"{self.order_id}-r{self.plan.plan_version}"

    @property
    def content(self) -> str:
        """The hash of what is asked for: a key stands for one order and plan.

        Not what is given up for it: of that an order reset meanwhile may know other things.
        """
        # Defaults are left out: a field a later release adds must not make a repeat another ask.
        return content_hash([self.order_id, self.plan.model_dump_json(exclude_defaults=True)])


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
    given_up: dict[tuple[str, str], int] = field(default_factory=dict)
    """(node id, line id) -> units that what it replaces reserved."""

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
        self.given_up = {(node, line): units for (_, line, node), units in reserved.items()}
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
    keeps_holds: bool = False,
) -> str:
    """Take exactly the plan's stock and capacity; the reservation's id.

    Reservations in `replaces` (an older plan of the order, grants) and, unless `keeps_holds`, what
    is held for the order are given up, so their units can be used again and nobody else gets in
    between. Raises ShortageError with every (node, SKU) that had too little, and (node, '') for
    capacity, and ConflictError when that plan version was reserved under another key; the caller's
    transaction must then roll back.
    """
    ask = Ask(order_id, plan, key, now, channel, tuple(replaces), keeps_holds)
    [outcome] = reserve_plans(session, [ask])
    if isinstance(outcome, ShortageError):
        raise outcome
    return outcome


def reserve_plans(session: Session, asks: Sequence[Ask]) -> list[str | ShortageError]:
    """Take each plan in turn, or say where it is short; what was refused changed nothing.

    An ask that repeats a key is answered like the first. Raises ConflictError when a key or a plan
    version was used for something else, also within the batch, ShortageError when capacity was
    taken by others at this very moment; the caller's transaction must then roll back.
    """
    distinct = {ask.key: ask for ask in reversed(asks)}
    for ask in asks:
        first = distinct[ask.key]
        if ask is not first and ask.content != first.content:
            raise used_for_another(ask.key, _KIND, _KIND)
    wishes, outcomes = _begin(session, [distinct[key] for key in sorted(distinct)])
    if wishes:
        outcomes |= {wish.ask.key: wish.ask.reservation_id for wish in wishes}
        outcomes |= _Taking(session, wishes).run()
    return [outcomes[ask.key] for ask in asks]


def swap_plans(session: Session, asks: Sequence[Ask], held: Sequence[Held]) -> bool:
    """Put each plan in the place of what it replaces, all of them or none; False for a repeat.

    What all give up is there for all of them, so two orders may take each other's units. `held`:
    for each ask the units that what it replaces still reserves, by (node, line). Raises
    ConflictError when it reserves others by now, ShortageError when stock or capacity is short;
    the caller's transaction must then roll back.
    """
    wishes, answered = _begin(session, asks)
    if answered:
        return False
    for wish, expected in zip(wishes, held, strict=True):
        if wish.given_up != expected:
            raise ConflictError(f"order '{wish.ask.order_id}' was released or changed meanwhile")
    _Taking(session, wishes).swap()
    return True


def _begin(
    session: Session, asks: Sequence[Ask]
) -> tuple[list[_Wish], dict[str, str | ShortageError]]:
    """Claim the keys; the asks that are new, with what they give up, locked.

    And key -> reservation of those that were answered before.
    """
    claims = [
        {
            "key": ask.key,
            "kind": _KIND,
            "at": moment(ask.now),
            "result": json.dumps(ask.reservation_id),
            "content": ask.content,
        }
        for ask in asks
    ]
    skus = {line.sku for ask in asks for part in ask.plan.fulfillments for line in part.lines}
    orders = [{"order_id": order_id} for order_id in sorted({ask.order_id for ask in asks})]
    giving_up = {ask.order_id for ask in asks if not ask.keeps_holds}
    claimed, uncounted, channels, held = fetch(
        session,
        (_CLAIM, claims),
        (_UNCOUNTED, [{"sku": sku} for sku in sorted(skus)]),
        (_CHANNELS, orders),
        # No holds that are kept: their rows would be locked before those of reservations.
        (hold_rows.OF_ORDERS, [{"order_id": order_id} for order_id in sorted(giving_up)]),
    )
    new = {key for (key,) in claimed}
    answered = _answered(session, [ask for ask in asks if ask.key not in new])
    replaced = {old for ask in asks if ask.key in new for old in ask.replaces}
    rows = locked_reservations(session, replaced) if replaced else []
    endless = {sku for (sku,) in uncounted}
    lines = [HoldLine(*row) for row in held]
    channel_of = dict(channels)
    wishes = []
    for ask in asks:
        if ask.key in new:
            # Each thing is given up once, also where two asks of a batch are of one order.
            mine = [x for x in lines if x.order_id == ask.order_id and not ask.keeps_holds]
            old = [row for row in rows if row.reservation_id in ask.replaces]
            _refuse_others(ask, old)
            lines = [line for line in lines if line not in mine]
            rows = [row for row in rows if row not in old]
            channel = ask.channel
            if channel is None:
                channel = channel_of.get(ask.order_id, "")
            wishes.append(_Wish(ask, channel, _rows_of(ask, endless), mine, old))
    return wishes, answered


def _refuse_others(ask: Ask, rows: Sequence[ReservationRow]) -> None:
    for row in rows:
        if row.order_id != ask.order_id:
            raise UnknownReferenceError(
                f"'{row.reservation_id}' is no reservation of order '{ask.order_id}'"
            )


def _answered(session: Session, repeats: Sequence[Ask]) -> dict[str, str | ShortageError]:
    """Key -> reservation of asks that repeat an earlier one."""
    contents = {ask.key: ask.content for ask in repeats}
    [found] = fetch(session, (_CLAIMED, [{"key": key} for key in contents]))
    for key, kind, content, _ in found:
        if kind != _KIND:
            raise used_for_another(key, kind, _KIND)
        if content is not None and content != contents[key]:
            raise used_for_another(key, _KIND, _KIND)
    return {key: json.loads(result) for key, _, _, result in found}


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
        short = {place for _, error in refused for place in error.short if place[1]}
        if hold_rows.free_expired(self._session, self._shelf, short, self._latest):
            refused = self._decide([wish for wish, _ in refused])
        errors = {wish.ask.key: error for wish, error in refused}
        self._write(list(errors))
        return errors

    def swap(self) -> None:
        """Give back all that the wishes replace, then take all they want, or raise."""
        for wish in self._wishes:
            self._give_back(wish)
            self._room.take({}, wish.replaced_back)
        for wish in self._wishes:
            short = self._shelf.short(wish.stock, wish.channel, {})
            full = self._room.full(wish.work, {})
            if short or full:
                raise shortage(short, full)
            cause = Cause(f"{wish.ask.key}/take", wish.ask.now, "reserve", wish.ask.order_id)
            self._shelf.take(wish.stock, "reserved", wish.channel, cause)
            self._room.take(wish.work, {})
            self._granted.append(wish)
        self._write([])

    def _give_back(self, wish: _Wish) -> None:
        ask = wish.ask
        for bucket, units in wish.back.items():
            kind = "use_hold" if bucket == "held" else "replace"
            self._shelf.give_back(units, bucket, Cause(ask.key, ask.now, kind, ask.order_id))

    def _decide(self, wishes: Sequence[_Wish]) -> list[tuple[_Wish, ShortageError]]:
        refused = []
        for wish in wishes:
            short = self._shelf.short(wish.stock, wish.channel, wish.freed)
            full = self._room.full(wish.work, wish.replaced_back)
            if short or full:
                refused.append((wish, shortage(short, full)))
            else:
                self._take(wish)
        return refused

    def _take(self, wish: _Wish) -> None:
        ask = wish.ask
        self._give_back(wish)
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
        self._grant_what_is_free()
        back: dict[WorkDay, Load] = {}
        for wish in granted:
            if wish.replaced:
                update_rows(session, wish.replaced)
                settle_plans(session, wish.ask.order_id, wish.replaced)
            for day, (units, orders) in wish.replaced_back.items():
                more_units, more_orders = back.get(day, (0, 0))
                back[day] = (units + more_units, orders + more_orders)
        # Last: many orders share a node's day, and wait here for each other until the commit.
        give_back_capacity(session, back, {day for wish in granted for day in wish.work})
        full = take_capacity(session, [wish.work for wish in granted])
        if full:
            raise shortage((), full)

    def _grant_what_is_free(self) -> None:
        """Units given up that none of the plans took go to the orders that wait for them."""
        left: Changes = {}
        for wish in self._granted:
            for (node_id, sku), units in wish.freed.items():
                ledger.add(left, node_id, sku, "reserved", -units)
            for (node_id, sku), units in wish.stock.items():
                ledger.add(left, node_id, sku, "reserved", units)
        if left:
            first = self._granted[0].ask
            grant_all(self._session, left, Cause(f"{first.key}/grant", self._latest, "replace"))


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
