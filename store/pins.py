"""Which policy versions an order is handled under, and what becomes of them when one is withdrawn.

The order's workflow carries the pins it began with; the store's are the newer ones, and every step
that asks a policy looks here first.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.plans import TimelineEntry
from domain.stages import Stage
from domain.values import Model
from store import policies, timeline
from store.columns import query, statement
from store.policies import Kind

UNRELEASED = (
    Stage.RECEIVED,
    Stage.PENDING_APPROVAL,
    Stage.PROMISED,
    Stage.BACKORDERED,
    Stage.RESERVED,
)
"""Stages of orders of which a part may still be planned anew."""

_KINDS: tuple[Kind, ...] = ("routing", "process")
_PINS = query(
    "SELECT routing_policy, process_policy FROM orders WHERE order_id = :order_id", "orders"
)
_PINNED = {
    kind: query(
        f"SELECT order_id, brand, region, order_type, channel FROM orders"  # noqa: S608 (own names)
        f" WHERE NOT closed AND stage IN :stages AND {kind}_policy = :{kind}_policy"
        " ORDER BY order_id",
        "orders",
        lists=["stages"],
    )
    for kind in _KINDS
}
_PIN = {
    kind: statement(
        f"UPDATE orders SET {kind}_policy = :{kind}_policy WHERE order_id = :order_id",  # noqa: S608
        "orders",
    )
    for kind in _KINDS
}


class Repinned(Model):
    """An order that is handled under another policy version from now on."""

    order_id: str
    version: str


class Withdrawal(Model):
    """What ending a version's activations did. `kept`: no other policy is active for these."""

    repinned: tuple[Repinned, ...] = ()
    kept: tuple[str, ...] = ()


def pinned(session: Session, order_id: str, kind: Kind, carried: str) -> str:
    """The version an order is pinned to; `carried` by its workflow where the store has none."""
    row = session.execute(_PINS, {"order_id": order_id}).one_or_none()
    if row is None:
        return carried
    kept = row.routing_policy if kind == "routing" else row.process_policy
    return kept or carried


def withdraw(session: Session, version: str, now: datetime) -> Withdrawal:
    """End all activations of a version and pin its unreleased orders to what is active for them.

    Each order's story tells of it. Raises UnknownReferenceError when the version was not active.
    """
    policies.deactivate(session, version, now)
    found, _ = policies.load_policy(session, version)
    kind: Kind = "routing" if found == "routing" else "process"
    rows = session.execute(_PINNED[kind], {"stages": list(UNRELEASED), f"{kind}_policy": version})
    repinned: list[Repinned] = []
    kept: list[str] = []
    successors: dict[tuple[str, str, str, str], str | None] = {}
    for row in rows.all():
        scope = (row.brand, row.region, row.order_type, row.channel)
        if scope not in successors:
            successors[scope] = _active(session, kind, scope)
        successor = successors[scope]
        if successor is None:
            kept.append(row.order_id)
        else:
            session.execute(_PIN[kind], {"order_id": row.order_id, f"{kind}_policy": successor})
            _tell(session, row.order_id, kind, version, successor, now)
            repinned.append(Repinned(order_id=row.order_id, version=successor))
    return Withdrawal(repinned=tuple(repinned), kept=tuple(kept))


def _active(session: Session, kind: Kind, scope: tuple[str, str, str, str]) -> str | None:
    brand, region, order_type, channel = scope
    try:
        version, _ = policies.active(
            session, kind, brand=brand, region=region, order_type=order_type, channel=channel
        )
    except UnknownReferenceError:
        return None
    return version


def _tell(
    session: Session, order_id: str, kind: Kind, before: str, after: str, now: datetime
) -> None:
    entry = TimelineEntry(
        key=f"pins/{before}/{now.isoformat()}",
        at=now,
        kind="policy",
        text=f"Policy {before} was deactivated: {kind} goes by {after} from now on",
    )
    timeline.note(session, order_id, [entry])
