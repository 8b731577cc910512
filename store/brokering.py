"""Brokering runs: which orders they may plan again, the moves they make, and what became of them.

A move and a release exclude each other: both lock the rows of the plan's reservation, and whoever
comes second finds other units there than it knows, and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.brokering import Standing
from domain.brokering_runs import Batch, BrokeringMove, BrokeringRun
from domain.errors import UnknownReferenceError
from domain.plans import Plan
from domain.routing.decision import DecisionRequest, Exclusion, Option, Purpose
from store import decisions, moves, orders, outbox
from store.columns import query, statement
from store.drift import keep_drift
from store.operations import content_hash
from store.reserving import Ask, swap_plans

REFUSED = "refused at reserve"
"""Reason of exclusions that held only for the moment of an earlier plan."""

_WAITING = (
    "SELECT o.order_id, o.routing_policy, o.channel, o.holds FROM orders o"
    " WHERE NOT o.closed AND o.stage = 'reserved' AND NOT o.needs_attention"
    " AND o.routing_policy IS NOT NULL AND o.release_at > :release_at"
)
_CANDIDATES = query(f"{_WAITING} ORDER BY o.release_at, o.order_id LIMIT :row_limit", "orders")
_STILL = query(
    f"{_WAITING} AND o.order_id IN :order_ids AND NOT EXISTS (SELECT 1 FROM brokering_moves m"  # noqa: S608 (own names)
    " WHERE m.run_id = :run_id AND m.order_id = o.order_id)",
    "orders",
    "brokering_moves",
    lists=["order_ids"],
)
_PLANS = query(
    "SELECT order_id, plan_version, document FROM plans"
    " WHERE order_id IN :order_ids AND state = 'reserved' ORDER BY order_id, plan_version",
    "plans",
    lists=["order_ids"],
)
_ROWS = query(
    "SELECT order_id, plan_version, node_id, line_id, reserved FROM reservations"
    " WHERE order_id IN :order_ids AND reserved > 0 AND NOT granted",
    "reservations",
    lists=["order_ids"],
)
_VERSIONS = statement(
    "SELECT p.order_id, max(p.plan_version) AS reserved, max(o.plan_version) AS known FROM plans p"
    " JOIN orders o ON o.order_id = p.order_id WHERE p.order_id IN :order_ids GROUP BY p.order_id",
    "orders",
    lists=["order_ids"],
)
_START = statement(
    "INSERT INTO brokering_runs (run_id, started_at, looked_at)"
    " VALUES (:run_id, :started_at, :looked_at) ON CONFLICT (run_id) DO UPDATE SET"
    " looked_at = excluded.looked_at",
    "brokering_runs",
)
_FINISH = statement(
    "UPDATE brokering_runs SET finished_at = :finished_at"
    " WHERE run_id = :run_id AND finished_at IS NULL",
    "brokering_runs",
)
_NOTE_MOVE = statement(
    "INSERT INTO brokering_moves (run_id, order_id, from_version, to_version, decision_id,"
    " before_micros, after_micros, why, moved_at) VALUES (:run_id, :order_id, :from_version,"
    " :to_version, :decision_id, :before_micros, :after_micros, :why, :moved_at)",
    "brokering_moves",
)
_RUN = (
    "SELECT r.run_id, r.started_at, r.finished_at, r.looked_at, count(m.order_id) AS moved,"
    " COALESCE(sum(m.before_micros - m.after_micros), 0) AS gain_micros"
    " FROM brokering_runs r LEFT JOIN brokering_moves m ON m.run_id = r.run_id"
)
_GROUP = " GROUP BY r.run_id, r.started_at, r.finished_at, r.looked_at"
_RUNS = query(
    f"{_RUN}{_GROUP} ORDER BY r.started_at DESC, r.run_id DESC LIMIT :row_limit",
    "brokering_runs",
)
_ONE_RUN = query(f"{_RUN} WHERE r.run_id = :run_id{_GROUP}", "brokering_runs")
_WHY = query(
    "SELECT why FROM brokering_moves WHERE order_id = (SELECT order_id FROM decisions"
    " WHERE decision_id = :decision_id) AND decision_id = :decision_id",
    "brokering_moves",
)
_MOVES = query(
    "SELECT * FROM brokering_moves WHERE run_id = :run_id ORDER BY moved_at, order_id",
    "brokering_moves",
)


@dataclass(frozen=True)
class Move:
    """A plan to put in the place of a standing one, as decided; `decision` is its packed row."""

    standing: Standing
    plan: Plan
    option: Option
    decision: Mapping[str, Any]
    before: int
    why: str

    @property
    def order_id(self) -> str:
        """Whose plan."""
        return self.standing.order_id

    def ask(self, now: datetime) -> Ask:
        """What is asked of stock and capacity."""
        before = self.standing.plan.plan_version
        return Ask(
            order_id=self.order_id,
            plan=self.plan,
            key=f"{self.order_id}/move/{before}-{self.plan.plan_version}",
            now=now,
            replaces=(f"{self.order_id}-r{before}",),
            keeps_holds=True,
        )


def start(
    session: Session, run_id: str, *, release_after: datetime, most: int, now: datetime
) -> tuple[Batch, ...]:
    """Note the run; the orders it looks at, those released soonest first, in batches."""
    rows = session.execute(_CANDIDATES, {"release_at": release_after, "row_limit": most}).all()
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if not row.holds:
            found.setdefault((row.routing_policy, row.channel), []).append(row.order_id)
    looked_at = sum(len(order_ids) for order_ids in found.values())
    session.execute(_START, {"run_id": run_id, "started_at": now, "looked_at": looked_at})
    return tuple(
        Batch(policy=policy, channel=channel, order_ids=tuple(order_ids))
        for (policy, channel), order_ids in sorted(found.items())
    )


def finish(session: Session, run_id: str, now: datetime) -> BrokeringRun:
    """Note the run's end, once; what it did."""
    session.execute(_FINISH, {"run_id": run_id, "finished_at": now})
    return run(session, run_id)


def standings(
    session: Session, run_id: str, batch: Batch, *, release_after: datetime, now: datetime
) -> list[Standing]:
    """The reserved plans of the batch's orders that may still be moved.

    Left out: what this run has moved already, what is about to be released, held or parked
    meanwhile, pinned to another policy meanwhile, planned in parts that are released at different
    times, or by an unknown decision.
    """
    asked = {"order_ids": list(batch.order_ids)}
    still = {**asked, "release_at": release_after, "run_id": run_id}
    waiting = {
        row.order_id
        for row in session.execute(_STILL, still)
        if not row.holds and row.routing_policy == batch.policy
    }
    held: dict[tuple[str, int], dict[tuple[str, str], int]] = {}
    for row in session.execute(_ROWS, asked):
        places = held.setdefault((row.order_id, row.plan_version), {})
        places[row.node_id, row.line_id] = row.reserved
    plans: dict[str, list[Plan]] = {}
    for row in session.execute(_PLANS, asked):
        if row.order_id in waiting:
            plans.setdefault(row.order_id, []).append(Plan.model_validate(row.document))
    versions = {row.order_id: row for row in session.execute(_VERSIONS, asked)}
    known = decisions.known(
        session, [plan.decision_id for found in plans.values() for plan in found]
    )
    digest = content_hash(run_id)[:8]
    found = []
    for order_id, [plan, *others] in plans.items():
        places = held.get((order_id, plan.plan_version), {})
        if places and not others and plan.decision_id in known:
            used = versions[order_id]
            standing = _standing(session, order_id, plan, places, max(used.reserved, used.known))
            asked_now = {"request_id": f"{order_id}-d{standing.next_version}-{digest}", "now": now}
            request = standing.request.model_copy(update=asked_now)
            found.append(replace(standing, request=request))
    return found


def _standing(
    session: Session,
    order_id: str,
    plan: Plan,
    places: dict[tuple[str, str], int],
    last_version: int,
) -> Standing:
    left = plan.model_copy(update={"fulfillments": moves.still_held(plan.fulfillments, places)})
    units: dict[str, int] = {}
    for (_, line_id), quantity in places.items():
        units[line_id] = units.get(line_id, 0) + quantity
    asked = decisions.load_request(session, plan.decision_id)
    return Standing(
        order_id=order_id,
        request=_still_asked(asked, units),
        plan=left,
        is_whole=left.fulfillments == plan.fulfillments,
        next_version=last_version + 1,
    )


def _still_asked(asked: DecisionRequest, units: Mapping[str, int]) -> DecisionRequest:
    """What the plan was decided for, with people's and nodes' own noes but not the moment's."""
    lines = tuple(
        x.model_copy(update={"quantity": units[x.line_id]})
        for x in asked.lines
        if x.line_id in units
    )
    used = {line.ship_group for line in lines}
    exclusions: tuple[Exclusion, ...] = tuple(x for x in asked.exclusions if x.reason != REFUSED)
    return asked.model_copy(
        update={
            "purpose": Purpose.REROUTE,
            "lines": lines,
            "groups": tuple(x for x in asked.groups if x.group_id in used),
            "exclusions": exclusions,
            "own_units": {},
        }
    )


def move_together(session: Session, run_id: str, group: Sequence[Move], now: datetime) -> None:
    """Put the new plans in the place of the old ones, all or none, and tell their orders.

    Raises ConflictError when one was released or changed meanwhile, ShortageError when others were
    quicker; the caller's transaction must then roll back.
    """
    ordered = sorted(group, key=lambda move: move.order_id)
    asks = [move.ask(now) for move in ordered]
    if not swap_plans(session, asks, [move.standing.places for move in ordered]):
        return
    decisions.save_packed(session, [move.decision for move in ordered])
    session.execute(_NOTE_MOVE, [_row(run_id, move, now) for move in ordered])
    for move in ordered:
        before, after = move.standing.plan.plan_version, move.plan
        moves.mark(session, move.order_id, before, after.plan_version)
        outbox.send(
            session,
            f"order-{move.order_id}",
            "replanned",
            {
                "request_id": f"{run_id}/{move.order_id}",
                "decision_id": after.decision_id,
                "plan_version": after.plan_version,
            },
            key=f"{move.order_id}/replanned/{after.plan_version}",
            now=now,
        )
        order = orders.load_order(session, move.order_id)
        keep_drift(session, order, after.decision_id, after.plan_version, move.option, now)


def _row(run_id: str, move: Move, now: datetime) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "order_id": move.order_id,
        "from_version": move.standing.plan.plan_version,
        "to_version": move.plan.plan_version,
        "decision_id": move.plan.decision_id,
        "before_micros": move.before,
        "after_micros": move.plan.cost_micros,
        "why": move.why,
        "moved_at": now,
    }


def run(session: Session, run_id: str) -> BrokeringRun:
    """A run. Raises UnknownReferenceError."""
    row = session.execute(_ONE_RUN, {"run_id": run_id}).mappings().one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no brokering run '{run_id}'")
    return _run_of(row)


def runs(session: Session, *, limit: int = 50) -> list[BrokeringRun]:
    """The latest runs, newest first."""
    rows = session.execute(_RUNS, {"row_limit": limit}).mappings()
    return [_run_of(row) for row in rows]


def moves_of(session: Session, run_id: str) -> list[BrokeringMove]:
    """The orders a run moved."""
    rows = session.execute(_MOVES, {"run_id": run_id}).mappings()
    return [BrokeringMove(**{k: row[k] for k in BrokeringMove.model_fields}) for row in rows]


def why(session: Session, decision_id: str) -> str | None:
    """Why a run moved an order by that decision; None where none did."""
    found: str | None = session.execute(_WHY, {"decision_id": decision_id}).scalar_one_or_none()
    return found


def _run_of(row: Mapping[Any, Any]) -> BrokeringRun:
    found = {name: row[name] for name in BrokeringRun.model_fields}
    return BrokeringRun(**{**found, "gain_micros": int(found["gain_micros"])})
