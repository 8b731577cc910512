"""Who is told what happens to orders, where, and which process is telling them now."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.order_events import covers
from domain.values import Model, UtcTime
from store.columns import changed, query, statement

LEASE = timedelta(seconds=60)
"""How long one process tells a subscription; when it dies, another goes on after that."""

_COLUMNS = (
    "subscription_id, url, event_types, brand, channel, secrets, state, why, created_by,"
    " created_at, failures, not_before"
)
_ADD = statement(
    f"INSERT INTO subscriptions ({_COLUMNS}) VALUES (:subscription_id, :url, :event_types, :brand,"  # noqa: S608 (own names)
    " :channel, :secrets, 'active', '', :created_by, :created_at, 0, NULL)",
    "subscriptions",
)
_ALL = query(
    f"SELECT {_COLUMNS} FROM subscriptions WHERE state <> 'removed'"  # noqa: S608 (own names)
    " ORDER BY created_at, subscription_id",
    "subscriptions",
)
_ACTIVE = query(
    f"SELECT {_COLUMNS} FROM subscriptions WHERE state = 'active'"  # noqa: S608 (own names)
    " ORDER BY created_at, subscription_id",
    "subscriptions",
)
_SET_SECRETS = statement(
    "UPDATE subscriptions SET secrets = :secrets WHERE subscription_id = :subscription_id"
    " AND state <> 'removed'",
    "subscriptions",
)
_SET_STATE = statement(
    "UPDATE subscriptions SET state = :state, why = :why, failures = 0, not_before = NULL"
    " WHERE subscription_id = :subscription_id AND state <> 'removed'",
    "subscriptions",
)
_FREE = (
    "s.state = 'active' AND (s.claimed_until IS NULL OR s.claimed_until <= :claimed_until_now)"
    " AND (s.not_before IS NULL OR s.not_before <= :not_before)"
)
_DUE = query(
    f"SELECT s.subscription_id FROM subscriptions s WHERE {_FREE} AND EXISTS"  # noqa: S608 (own names)
    " (SELECT 1 FROM event_deliveries d WHERE d.subscription_id = s.subscription_id"
    " AND d.state = 'waiting' AND d.next_at <= :next_at) ORDER BY s.subscription_id",
    "subscriptions",
    "event_deliveries",
)
_CLAIM = query(
    "UPDATE subscriptions AS s SET claimed_until = :claimed_until, claimed_by = :claimed_by"  # noqa: S608 (own names)
    f" WHERE s.subscription_id = :subscription_id AND {_FREE} RETURNING {_COLUMNS}",
    "subscriptions",
)
_LET_GO = statement(
    "UPDATE subscriptions SET claimed_until = NULL, claimed_by = NULL, failures = :failures,"
    " not_before = :not_before WHERE subscription_id = :subscription_id"
    " AND claimed_by = :claimed_by",
    "subscriptions",
)


class SubscriptionState(StrEnum):
    """Whether a subscription is told; a removed one is kept for what it was told before."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REMOVED = "removed"


class Secret(Model):
    """What events are signed with, until that time: a secret, or the variable that holds it."""

    value: str | None = None
    variable: str | None = None
    until: UtcTime | None = None

    def signs(self, now: datetime) -> bool:
        """Whether events are still signed with it."""
        return self.until is None or now < self.until


class Subscription(Model):
    """Who is told which events of which orders; its first secret is the newest."""

    subscription_id: str
    url: str
    event_types: tuple[str, ...]
    brand: str | None = None
    channel: str | None = None
    secrets: tuple[Secret, ...]
    state: SubscriptionState
    why: str = ""
    """Why it is disabled."""
    created_by: str
    created_at: UtcTime
    failures: int = 0
    """How often in a row its receiver was away."""
    not_before: UtcTime | None = None

    def wants(self, event_type: str, brand: str | None, channel: str | None) -> bool:
        """Whether it is told such an event of such an order."""
        return (
            any(covers(pattern, event_type) for pattern in self.event_types)
            and self.brand in (None, brand)
            and self.channel in (None, channel)
        )


def add(
    session: Session,
    url: str,
    event_types: Sequence[str],
    secret: Secret,
    *,
    created_by: str,
    now: datetime,
    brand: str | None = None,
    channel: str | None = None,
) -> str:
    """Keep a subscription to what happens from now on; its id."""
    subscription_id = f"sub-{secrets.token_hex(8)}"
    row = {
        "subscription_id": subscription_id,
        "url": url,
        "event_types": list(event_types),
        "brand": brand,
        "channel": channel,
        "secrets": _stored([secret]),
        "created_by": created_by,
        "created_at": now,
    }
    session.execute(_ADD, row)
    return subscription_id


def subscriptions(session: Session) -> dict[str, Subscription]:
    """Every subscription that was not removed, oldest first."""
    return {x.subscription_id: x for x in map(_read, session.execute(_ALL).mappings())}


def active(session: Session) -> list[Subscription]:
    """Those that are told, oldest first."""
    return [_read(row) for row in session.execute(_ACTIVE).mappings()]


def subscription(session: Session, subscription_id: str) -> Subscription:
    """One of them. Raises UnknownReferenceError."""
    found = subscriptions(session).get(subscription_id)
    if found is None:
        raise UnknownReferenceError(f"no subscription '{subscription_id}'")
    return found


def change_secret(
    session: Session, subscription_id: str, secret: Secret, *, keep_until: datetime, now: datetime
) -> None:
    """Sign with that secret from now on, and with those before as well until then.

    Raises UnknownReferenceError.
    """
    before = [x for x in subscription(session, subscription_id).secrets if x.signs(now)]
    ending = [
        x.model_copy(update={"until": min(x.until or keep_until, keep_until)}) for x in before
    ]
    row = {"subscription_id": subscription_id, "secrets": _stored([secret, *ending])}
    session.execute(_SET_SECRETS, row)


def set_state(
    session: Session, subscription_id: str, state: SubscriptionState, why: str = ""
) -> None:
    """Enable, disable or remove it; of a removed one no secret is kept.

    Raises UnknownReferenceError.
    """
    if state is SubscriptionState.REMOVED:
        session.execute(_SET_SECRETS, {"subscription_id": subscription_id, "secrets": []})
    row = {"subscription_id": subscription_id, "state": state.value, "why": why}
    if not changed(session, _SET_STATE, row):
        raise UnknownReferenceError(f"no subscription '{subscription_id}'")


def due(session: Session, now: datetime) -> list[str]:
    """Ids of those that have something to be told now, and that nobody is telling."""
    asked = {"claimed_until_now": now, "not_before": now, "next_at": now}
    return [row.subscription_id for row in session.execute(_DUE, asked)]


def claim(session: Session, subscription_id: str, owner: str, now: datetime) -> Subscription | None:
    """Take it for `LEASE`; None when another process has it or it is not to be told now."""
    asked = {
        "subscription_id": subscription_id,
        "claimed_until": now + LEASE,
        "claimed_by": owner,
        "claimed_until_now": now,
        "not_before": now,
    }
    row = session.execute(_CLAIM, asked).mappings().one_or_none()
    return None if row is None else _read(row)


def let_go(
    session: Session,
    subscription_id: str,
    owner: str,
    *,
    failures: int = 0,
    not_before: datetime | None = None,
) -> None:
    """Give it back, to be told again from `not_before`, unless another took it meanwhile."""
    row = {
        "subscription_id": subscription_id,
        "claimed_by": owner,
        "failures": failures,
        "not_before": not_before,
    }
    session.execute(_LET_GO, row)


def _stored(kept: Sequence[Secret]) -> list[dict[str, Any]]:
    return [secret.model_dump(mode="json") for secret in kept]


def _read(row: Mapping[Any, Any]) -> Subscription:
    return Subscription.model_validate({name: row[name] for name in Subscription.model_fields})
