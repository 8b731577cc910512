"""Policies: immutable by version, in force per scope."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.policy_rollout import Activation, Scope, Terms, Whose, in_force, reachable
from domain.process_policy import ProcessPolicy
from domain.routing.policy import RoutingPolicy
from domain.values import Model, UtcTime
from store.columns import changed, query, statement
from store.network import distribution_groups

Kind = Literal["routing", "process"]
NONE_ACTIVE = "no {kind} policy is active for these orders: activate one"

_PUBLISH = statement(
    "INSERT INTO policies (version, kind, document, published_at)"
    " VALUES (:version, :kind, :document, :published_at) ON CONFLICT DO NOTHING",
    "policies",
)
_LOAD = query("SELECT kind, document FROM policies WHERE version = :version", "policies")
_ACTIVATE = query(
    "INSERT INTO policy_activations (version, kind, brand, region, order_type, channel,"
    " activated_at, share, starts_at, ends_at, guardrails, minimum_orders, rolls_back)"
    " VALUES (:version, :kind, :brand, :region, :order_type, :channel, :activated_at, :share,"
    " :starts_at, :ends_at, :guardrails, :minimum_orders, :rolls_back) RETURNING id",
    "policy_activations",
)
_END = statement(
    "UPDATE policy_activations SET deactivated_at = :deactivated_at,"
    " ended_because = :ended_because WHERE id = :id AND deactivated_at IS NULL",
    "policy_activations",
)
# By rank, as the domain has it: what is hidden need not be looked at.
_LIVE = query(
    "SELECT id, version, brand, region, order_type, channel, share, starts_at, ends_at"
    " FROM policy_activations WHERE kind = :kind AND deactivated_at IS NULL"
    " AND (brand IS NULL OR brand = :brand) AND (region IS NULL OR region = :region)"
    " AND (order_type IS NULL OR order_type = :order_type)"
    " AND (channel IS NULL OR channel = :channel) ORDER BY"
    " (CASE WHEN brand IS NULL THEN 0 ELSE 1 END)"
    " + (CASE WHEN region IS NULL THEN 0 ELSE 1 END)"
    " + (CASE WHEN order_type IS NULL THEN 0 ELSE 1 END)"
    " + (CASE WHEN channel IS NULL THEN 0 ELSE 1 END) DESC, id DESC",
    "policy_activations",
)
_LIVE_OF = query(
    "SELECT id, version, brand, region, order_type, channel, share, starts_at, ends_at"
    " FROM policy_activations WHERE version = :version AND deactivated_at IS NULL ORDER BY id",
    "policy_activations",
)
_OVER = query(
    "SELECT id, version FROM policy_activations WHERE deactivated_at IS NULL"
    " AND ends_at <= :ends_at ORDER BY id",
    "policy_activations",
)
_ENDED = query(
    "SELECT version, max(ended_because) AS ended_because FROM policy_activations"
    " WHERE deactivated_at >= :deactivated_at AND ended_because IS NOT NULL"
    " GROUP BY version ORDER BY version",
    "policy_activations",
)
_LIST = query(
    "SELECT p.version, p.kind, p.published_at, a.id, a.brand, a.region, a.order_type, a.channel,"
    " a.activated_at, a.deactivated_at, a.share, a.starts_at, a.ends_at, a.guardrails,"
    " a.minimum_orders, a.rolls_back, a.ended_because FROM policies p"
    " LEFT JOIN policy_activations a ON a.version = p.version"
    " ORDER BY p.kind, p.published_at, p.version, a.id",
    "policy_activations",
    "policies",
)


class PolicyListing(Model):
    """A published policy and one of its activations, if it has any."""

    version: str
    kind: str
    published_at: UtcTime
    scope: Scope = Scope()
    activated_at: UtcTime | None = None
    deactivated_at: UtcTime | None = None
    activation_id: int | None = None
    share: int = 100
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None
    guardrails: tuple[str, ...] = ()
    minimum_orders: int = 100
    rolls_back: bool = False
    ended_because: str | None = None
    """`deactivated`, `rolled back`, or `ended` when its time was over."""


def publish(session: Session, kind: Kind | str, document: dict[str, Any], now: datetime) -> str:
    """Keep a policy; its version, which is its content's hash. Publishing it again is the same."""
    canonical = json.dumps([kind, document], sort_keys=True, separators=(",", ":"))
    version = f"{kind}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"
    session.execute(
        _PUBLISH,
        {"version": version, "kind": kind, "document": document, "published_at": now},
    )
    return version


def activate(
    session: Session,
    version: str,
    scope: Scope | Mapping[str, str | None],
    now: datetime,
    terms: Terms = Terms(),  # noqa: B008 (immutable)
) -> int:
    """Put a policy in force for a scope, over any activated there earlier; the activation's id.

    Raises UnknownReferenceError, also for a sourcing group that the network lacks, and
    pydantic.ValidationError for a scope of other parts.
    """
    kind, document = _load(session, version)
    if kind == "routing":
        _refuse_unknown_groups(session, RoutingPolicy.model_validate(document).group_names)
    where = scope if isinstance(scope, Scope) else Scope.model_validate(scope)
    row = session.execute(
        _ACTIVATE,
        {
            **where.model_dump(),
            **terms.model_dump(exclude={"guardrails"}),
            "guardrails": [str(one) for one in terms.guardrails],
            "version": version,
            "kind": kind,
            "activated_at": now,
        },
    ).one()
    return int(row.id)


def _refuse_unknown_groups(session: Session, wanted: Iterable[str]) -> None:
    unknown = sorted(set(wanted) - distribution_groups(session).keys())
    if unknown:
        name = unknown[0]
        raise UnknownReferenceError(
            f"no distribution group '{name}': import it with the network first"
        )


def live_activations(session: Session, version: str) -> list[Activation]:
    """The activations of a version that were not ended, oldest first, begun or not."""
    return [_activation(row) for row in session.execute(_LIVE_OF, {"version": version})]


def activations_over(session: Session, now: datetime) -> list[tuple[int, str]]:
    """(activation id, version) of those whose time is over and that were not ended yet."""
    return [(row.id, row.version) for row in session.execute(_OVER, {"ends_at": now})]


def ended_since(session: Session, since: datetime) -> list[tuple[str, str]]:
    """(version, why) of those of which an activation was ended since then."""
    rows = session.execute(_ENDED, {"deactivated_at": since})
    return [(row.version, row.ended_because) for row in rows]


def end(session: Session, activation_id: int, because: str, now: datetime) -> bool:
    """End an activation. False: it was ended before."""
    row = {"id": activation_id, "deactivated_at": now, "ended_because": because}
    return changed(session, _END, row) == 1


def candidates(session: Session, kind: Kind, whose: Whose, now: datetime) -> list[Activation]:
    """Every activation that may hold from now on for orders of that scope, whatever the unit."""
    scope = whose.model_dump(exclude={"unit"})
    rows = session.execute(_LIVE, {**scope, "kind": kind})
    return reachable((_activation(row) for row in rows), now)


def is_covered(session: Session, kind: Kind, scope: Scope, now: datetime) -> bool:
    """Whether every order of that scope has a policy in force now."""
    parts = {name: value or "" for name, value in scope.model_dump().items()}
    return any(one.is_whole(now) for one in candidates(session, kind, Whose(**parts), now))


def active_version(session: Session, kind: Kind, whose: Whose, now: datetime) -> str:
    """The version in force: the narrowest scope, then the latest, of those that hold now.

    Raises UnknownReferenceError when none is.
    """
    found = in_force(candidates(session, kind, whose, now), whose, now)
    if found is None:
        raise UnknownReferenceError(NONE_ACTIVE.format(kind=kind))
    return found.version


def active(session: Session, kind: Kind, whose: Whose, now: datetime) -> tuple[str, dict[str, Any]]:
    """(version, document) of the policy in force. Raises UnknownReferenceError when none is."""
    version = active_version(session, kind, whose, now)
    return version, _load(session, version)[1]


def _activation(row: Any) -> Activation:
    return Activation(
        activation_id=row.id,
        version=row.version,
        scope=_scope(row),
        share=row.share,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
    )


def _scope(row: Any) -> Scope:
    return Scope(brand=row.brand, region=row.region, order_type=row.order_type, channel=row.channel)


def load_policy(session: Session, version: str) -> tuple[str, dict[str, Any]]:
    """(kind, document) of a version. Raises UnknownReferenceError."""
    return _load(session, version)


def routing_policy(session: Session, version: str) -> RoutingPolicy:
    """A routing policy. Raises UnknownReferenceError when there is none of that version."""
    return as_routing_policy(session, _document(session, "routing", version))


def as_routing_policy(session: Session, document: Mapping[str, Any]) -> RoutingPolicy:
    """The document with its sourcing groups as the network has them now."""
    policy = RoutingPolicy.model_validate(document)
    if not policy.group_names:
        return policy.model_copy(update={"sourced_from": ()})
    known = distribution_groups(session)
    found = tuple(known[name] for name in policy.group_names if name in known)
    return policy.model_copy(update={"sourced_from": found})


def process_policy(session: Session, version: str) -> ProcessPolicy:
    """A process policy. Raises UnknownReferenceError when there is none of that version."""
    return ProcessPolicy.model_validate(_document(session, "process", version))


def _document(session: Session, kind: Kind, version: str) -> dict[str, Any]:
    found, document = _load(session, version)
    if found != kind:
        raise UnknownReferenceError(f"'{version}' is a {found} policy, not a {kind} policy")
    return document


def list_policies(session: Session) -> list[PolicyListing]:
    """All policies with their activations, oldest first."""
    return [_listing(row) for row in session.execute(_LIST)]


def _listing(row: Any) -> PolicyListing:
    published = {name: getattr(row, name) for name in ("version", "kind", "published_at")}
    if row.id is None:
        return PolicyListing(**published)
    terms = (
        *("activated_at", "deactivated_at", "share", "starts_at", "ends_at", "guardrails"),
        *("minimum_orders", "rolls_back", "ended_because"),
    )
    return PolicyListing(
        **published,
        scope=_scope(row),
        activation_id=row.id,
        **{name: getattr(row, name) for name in terms},
    )


def _load(session: Session, version: str) -> tuple[str, dict[str, Any]]:
    row = session.execute(_LOAD, {"version": version}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no policy '{version}': publish it first")
    return row.kind, row.document
