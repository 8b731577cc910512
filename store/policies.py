"""Policies: immutable by version, in force per scope."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.process_policy import ProcessPolicy
from domain.routing.policy import RoutingPolicy
from domain.values import Model, UtcTime
from store.columns import changed, query, statement
from store.network import distribution_groups

Kind = Literal["routing", "process"]

_PUBLISH = statement(
    "INSERT INTO policies (version, kind, document, published_at)"
    " VALUES (:version, :kind, :document, :published_at) ON CONFLICT DO NOTHING",
    "policies",
)
_LOAD = query("SELECT kind, document FROM policies WHERE version = :version", "policies")
_ACTIVATE = statement(
    "INSERT INTO policy_activations (version, kind, brand, region, order_type, channel,"
    " activated_at) VALUES (:version, :kind, :brand, :region, :order_type, :channel,"
    " :activated_at)",
    "policy_activations",
)
_DEACTIVATE = statement(
    "UPDATE policy_activations SET deactivated_at = :deactivated_at"
    " WHERE version = :version AND deactivated_at IS NULL",
    "policy_activations",
)
# The narrowest scope that fits wins, then the latest activation.
_ACTIVE = query(
    "SELECT p.version, p.document FROM policy_activations a"
    " JOIN policies p ON p.version = a.version"
    " WHERE a.kind = :kind AND a.deactivated_at IS NULL"
    " AND (a.brand IS NULL OR a.brand = :brand) AND (a.region IS NULL OR a.region = :region)"
    " AND (a.order_type IS NULL OR a.order_type = :order_type)"
    " AND (a.channel IS NULL OR a.channel = :channel) ORDER BY"
    " (CASE WHEN a.brand IS NULL THEN 0 ELSE 1 END)"
    " + (CASE WHEN a.region IS NULL THEN 0 ELSE 1 END)"
    " + (CASE WHEN a.order_type IS NULL THEN 0 ELSE 1 END)"
    " + (CASE WHEN a.channel IS NULL THEN 0 ELSE 1 END) DESC, a.id DESC LIMIT 1",
    "policies",
    "policy_activations",
)
_LIST = query(
    "SELECT p.version, p.kind, p.published_at, a.brand, a.region, a.order_type, a.channel,"
    " a.activated_at, a.deactivated_at FROM policies p"
    " LEFT JOIN policy_activations a ON a.version = p.version"
    " ORDER BY p.kind, p.published_at, p.version, a.id",
    "policies",
    "policy_activations",
)


class Scope(Model):
    """Which orders a policy is for; a part left out means all."""

    brand: str | None = None
    region: str | None = None
    order_type: str | None = None
    channel: str | None = None


class PolicyListing(Model):
    """A published policy and one of its activations, if it has any."""

    version: str
    kind: str
    published_at: UtcTime
    scope: Scope = Scope()
    activated_at: UtcTime | None = None
    deactivated_at: UtcTime | None = None


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
    session: Session, version: str, scope: Scope | Mapping[str, str | None], now: datetime
) -> None:
    """Put a policy in force for a scope, in place of any activated there earlier.

    Raises UnknownReferenceError, also for a sourcing group that the network lacks, and
    pydantic.ValidationError for a scope of other parts.
    """
    kind, document = _load(session, version)
    _refuse_unknown_groups(session, document.get("sourcing_groups") or ())
    where = scope if isinstance(scope, Scope) else Scope.model_validate(scope)
    session.execute(
        _ACTIVATE,
        {**where.model_dump(), "version": version, "kind": kind, "activated_at": now},
    )


def _refuse_unknown_groups(session: Session, wanted: Iterable[str]) -> None:
    unknown = sorted(set(wanted) - distribution_groups(session).keys())
    if unknown:
        name = unknown[0]
        raise UnknownReferenceError(
            f"no distribution group '{name}': import it with the network first"
        )


def deactivate(session: Session, version: str, now: datetime) -> None:
    """End all activations of a version; the one before is in force again.

    Raises UnknownReferenceError when it was not active.
    """
    if not changed(session, _DEACTIVATE, {"version": version, "deactivated_at": now}):
        raise UnknownReferenceError(f"policy '{version}' is not active")


def active(
    session: Session, kind: Kind, *, brand: str, region: str, order_type: str, channel: str
) -> tuple[str, dict[str, Any]]:
    """(version, document) of the policy in force: the narrowest scope, then the latest.

    Raises UnknownReferenceError when none is.
    """
    row = session.execute(
        _ACTIVE,
        {
            "kind": kind,
            "brand": brand,
            "region": region,
            "order_type": order_type,
            "channel": channel,
        },
    ).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no {kind} policy is active for these orders: activate one")
    return row.version, row.document


def load_policy(session: Session, version: str) -> tuple[str, dict[str, Any]]:
    """(kind, document) of a version. Raises UnknownReferenceError."""
    return _load(session, version)


def routing_policy(session: Session, version: str) -> RoutingPolicy:
    """A routing policy. Raises UnknownReferenceError when there is none of that version."""
    return as_routing_policy(session, _document(session, "routing", version))


def as_routing_policy(session: Session, document: Mapping[str, Any]) -> RoutingPolicy:
    """The document with its sourcing groups as the network has them now."""
    policy = RoutingPolicy.model_validate(document)
    if not policy.sourcing_groups:
        return policy.model_copy(update={"sourced_from": ()})
    known = distribution_groups(session)
    found = tuple(known[name] for name in policy.sourcing_groups if name in known)
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
    return [
        PolicyListing(
            version=row.version,
            kind=row.kind,
            published_at=row.published_at,
            scope=Scope(
                brand=row.brand,
                region=row.region,
                order_type=row.order_type,
                channel=row.channel,
            ),
            activated_at=row.activated_at,
            deactivated_at=row.deactivated_at,
        )
        for row in session.execute(_LIST)
    ]


def _load(session: Session, version: str) -> tuple[str, dict[str, Any]]:
    row = session.execute(_LOAD, {"version": version}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no policy '{version}': publish it first")
    return row.kind, row.document
