"""Which policy versions an order is handled under, and what becomes of them when one is withdrawn.

The order's workflow carries the pins it began with; the store's are the newer ones, and every step
that asks a policy looks here first.
"""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from domain.plans import TimelineEntry
from domain.policy_rollout import Activation, Scope, Whose, in_force, unit_of
from domain.stages import Stage
from domain.values import Model
from store import policies, timeline
from store.columns import query, statement
from store.policies import Kind

ENDED = "ended"
"""Why an activation ended whose time is over."""
UNRELEASED = (
    Stage.RECEIVED,
    Stage.PENDING_APPROVAL,
    Stage.PROMISED,
    Stage.BACKORDERED,
    Stage.RESERVED,
)
"""Stages of orders of which a part may still be planned anew."""

_LATELY = timedelta(minutes=10)
"""Longer than any intake takes."""
_KINDS: tuple[Kind, ...] = ("routing", "process")
_PINS = query(
    "SELECT routing_policy, process_policy FROM orders WHERE order_id = :order_id", "orders"
)
_PINNED = {
    kind: query(
        "SELECT o.order_id, o.brand, o.region, o.order_type, o.channel,"  # noqa: S608 (own names)
        " v.document -> 'customer' ->> 'customer_id' AS customer_id,"
        " v.document ->> 'promise_id' AS promise_id FROM orders o"
        " JOIN order_versions v ON v.order_id = o.order_id AND v.version = o.version"
        f" WHERE NOT o.closed AND o.stage IN :stages AND o.{kind}_policy = :{kind}_policy",
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

    ended: tuple[int, ...] = ()
    """Ids of the activations."""
    repinned: tuple[Repinned, ...] = ()
    kept: tuple[str, ...] = ()
    uncovered: tuple[Scope, ...] = ()
    """Scopes in which some orders have no policy now, so that they are not taken in."""


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
    return _end(session, version, _live(session, version), "deactivated", now)


def roll_back(session: Session, version: str, now: datetime) -> Withdrawal:
    """End the latest activation of a version, so that the one before holds, as `withdraw` does."""
    return _end(session, version, _live(session, version)[-1:], "rolled back", now)


def end_activation(
    session: Session,
    version: str,
    activation_id: int,
    because: str,
    now: datetime,
    *,
    only_covered: bool = False,
) -> Withdrawal:
    """End one activation of a version, as `withdraw` does; once ended, it does nothing.

    `only_covered`: raises ConflictError, before any order is looked at, when orders of its scope
    would have no policy then; the transaction is to be given up.
    """
    live = policies.live_activations(session, version)
    meant = [one for one in live if one.activation_id == activation_id]
    return _end(session, version, meant, because, now, only_covered=only_covered)


def _live(session: Session, version: str) -> list[Activation]:
    policies.load_policy(session, version)
    live = policies.live_activations(session, version)
    if not live:
        raise UnknownReferenceError(f"policy '{version}' is not active")
    return live


def _end(
    session: Session,
    version: str,
    activations: list[Activation],
    because: str,
    now: datetime,
    *,
    only_covered: bool = False,
) -> Withdrawal:
    ended = [x for x in activations if policies.end(session, x.activation_id, because, now)]
    if not ended:
        return Withdrawal()
    kind = _kind_of(session, version)
    scopes = dict.fromkeys(one.scope for one in ended)
    uncovered = tuple(x for x in scopes if not policies.is_covered(session, kind, x, now))
    if uncovered and only_covered:
        raise ConflictError(f"no other policy is active for all orders of '{version}'")
    repinned, kept = _repin(session, version, because, now)
    return Withdrawal(
        ended=tuple(one.activation_id for one in ended),
        repinned=repinned,
        kept=kept,
        uncovered=uncovered,
    )


def _kind_of(session: Session, version: str) -> Kind:
    found, _ = policies.load_policy(session, version)
    return "routing" if found == "routing" else "process"


def settle(session: Session, now: datetime) -> tuple[Repinned, ...]:
    """Pin anew the orders that were taken in while the activation they were given was ended.

    Looks at what ended lately. Orders that keep the version of their promise stay.
    """
    return tuple(
        one
        for version, because in policies.ended_since(session, now - _LATELY)
        for one in _repin(session, version, because, now, promised=False)[0]
    )


def _repin(
    session: Session, version: str, because: str, now: datetime, *, promised: bool = True
) -> tuple[tuple[Repinned, ...], tuple[str, ...]]:
    """Pin a version's unreleased orders, for which none of its activations holds, to what does.

    Those pinned, and the ids of those for which nothing else is active. `promised`: also orders
    that came with a promise.
    """
    kind = _kind_of(session, version)
    remaining = policies.live_activations(session, version)
    rows = session.execute(_PINNED[kind], {"stages": list(UNRELEASED), f"{kind}_policy": version})
    successors = _Successors(session, kind, now)
    repinned: list[Repinned] = []
    kept: list[str] = []
    # Sorted as the reserver sorts what it writes: the database may compare texts by a language.
    for row in sorted(rows.all(), key=lambda row: str(row.order_id)):
        whose = Whose(
            brand=row.brand,
            region=row.region,
            order_type=row.order_type,
            channel=row.channel,
            unit=unit_of(row.customer_id, row.order_id),
        )
        is_kept = row.promise_id is not None and not promised
        if is_kept or any(one.holds(whose, now) for one in remaining):
            continue
        successor = successors.of(whose)
        if successor is None:
            kept.append(row.order_id)
        else:
            session.execute(_PIN[kind], {"order_id": row.order_id, f"{kind}_policy": successor})
            _tell(session, row.order_id, kind, (version, successor), because, now)
            repinned.append(Repinned(order_id=row.order_id, version=successor))
    return tuple(repinned), tuple(kept)


class _Successors:
    """What is active now, each scope read once."""

    def __init__(self, session: Session, kind: Kind, now: datetime) -> None:
        self._session = session
        self._kind = kind
        self._now = now
        self._known: dict[Whose, list[Activation]] = {}

    def of(self, whose: Whose) -> str | None:
        """The version in force; None: none is."""
        scope = whose.model_copy(update={"unit": ""})
        if scope not in self._known:
            self._known[scope] = policies.candidates(self._session, self._kind, scope, self._now)
        found = in_force(self._known[scope], whose, self._now)
        return None if found is None else found.version


def _tell(
    session: Session,
    order_id: str,
    kind: Kind,
    versions: tuple[str, str],
    because: str,
    now: datetime,
) -> None:
    before, after = versions
    how = "has ended" if because == ENDED else f"was {because}"
    entry = TimelineEntry(
        key=f"pins/{before}/{now.isoformat()}",
        at=now,
        kind="policy",
        text=f"Policy {before} {how}: {kind} goes by {after} from now on",
    )
    timeline.note(session, order_id, [entry])
