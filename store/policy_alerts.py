"""Guardrails of activations in force, and the alerts of those that broke."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from domain.guardrails import Breach, Guardrail, parse_guardrail
from domain.policy_rollout import Scope
from domain.values import Model, UtcTime
from store.columns import query, statement
from store.policies import Kind

_WATCHED = query(
    "SELECT id, version, kind, brand, region, order_type, channel, activated_at, starts_at,"
    " guardrails, minimum_orders, rolls_back FROM policy_activations"
    " WHERE deactivated_at IS NULL AND CAST(guardrails AS text) <> '[]'"
    " AND (starts_at IS NULL OR starts_at <= :starts_at) ORDER BY id",
    "policy_activations",
)
_RAISE = query(
    "INSERT INTO policy_alerts (activation_id, guardrail, value, cases, raised_at)"
    " VALUES (:activation_id, :guardrail, :value, :cases, :raised_at)"
    " ON CONFLICT (activation_id, guardrail) DO NOTHING RETURNING guardrail, value, cases,"
    " raised_at",
    "policy_alerts",
)
_ALL = query(
    "SELECT activation_id, guardrail, value, cases, raised_at FROM policy_alerts ORDER BY id",
    "policy_alerts",
)
_STANDING = statement(
    "SELECT count(*) FROM policy_alerts x JOIN policy_activations a ON a.id = x.activation_id"
    " WHERE a.deactivated_at IS NULL"
)


class Watched(Model):
    """An activation whose guardrails are to be kept, and since when its orders count."""

    activation_id: int
    version: str
    kind: Kind
    scope: Scope
    since: UtcTime
    guardrails: tuple[Guardrail, ...]
    minimum_orders: int
    rolls_back: bool


class Alert(Model):
    """A guardrail that broke, by what value, made of how many orders or lines."""

    guardrail: str
    value: str
    cases: int
    raised_at: UtcTime


def watched(session: Session, now: datetime) -> list[Watched]:
    """The activations with guardrails that have begun and were not ended."""
    return [
        Watched(
            activation_id=row.id,
            version=row.version,
            kind=row.kind,
            scope=Scope(
                brand=row.brand,
                region=row.region,
                order_type=row.order_type,
                channel=row.channel,
            ),
            since=row.starts_at or row.activated_at,
            guardrails=tuple(parse_guardrail(text) for text in row.guardrails),
            minimum_orders=row.minimum_orders,
            rolls_back=row.rolls_back,
        )
        for row in session.execute(_WATCHED, {"starts_at": now})
    ]


def raise_alerts(
    session: Session, activation_id: int, broken: Iterable[Breach], now: datetime
) -> list[Alert]:
    """Keep an alert of each guardrail that broke; those that were not raised before."""
    found = []
    for breach in broken:
        row = session.execute(
            _RAISE,
            {
                "activation_id": activation_id,
                "guardrail": str(breach.guardrail),
                "value": str(breach.value),
                "cases": breach.cases,
                "raised_at": now,
            },
        ).one_or_none()
        if row is not None:
            found.append(_alert(row))
    return found


def alerts(session: Session) -> dict[int, list[Alert]]:
    """Every alert there was, by activation."""
    found: dict[int, list[Alert]] = {}
    for row in session.execute(_ALL):
        found.setdefault(row.activation_id, []).append(_alert(row))
    return found


def standing(session: Session) -> int:
    """How many alerts there are of activations that were not ended."""
    return int(session.execute(_STANDING).scalar_one())


def _alert(row: object) -> Alert:
    return Alert.model_validate(row, from_attributes=True)
