"""Events on their way to subscriptions: due, told, given up, and told again."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.values import Model, UtcTime
from store.columns import changed, query, statement

_DUE = query(
    "SELECT d.id, d.event_id, d.order_id, d.attempts, e.event_type, e.document"
    " FROM event_deliveries d JOIN order_events e ON e.event_id = d.event_id"
    " WHERE d.subscription_id = :subscription_id AND d.state = 'waiting' AND d.next_at <= :next_at"
    " AND NOT EXISTS (SELECT 1 FROM event_deliveries earlier"
    " WHERE earlier.subscription_id = d.subscription_id AND earlier.order_id = d.order_id"
    " AND earlier.state = 'waiting' AND earlier.id < d.id AND earlier.next_at > :next_at)"
    " ORDER BY d.id LIMIT :row_limit",
    "event_deliveries",
    "order_events",
)
_DONE = statement(
    "UPDATE event_deliveries SET state = 'done', attempts = attempts + 1, done_at = :done_at,"
    " error = '' WHERE id IN :ids AND state = 'waiting'",
    "event_deliveries",
    lists=["ids"],
)
_LATER = statement(
    "UPDATE event_deliveries SET attempts = attempts + 1, error = :error, next_at = :next_at"
    " WHERE id = :id AND state = 'waiting'",
    "event_deliveries",
)
_DIE = statement(
    "UPDATE event_deliveries SET state = 'dead', attempts = attempts + 1, error = :error,"
    " done_at = :done_at WHERE id = :id AND state = 'waiting'",
    "event_deliveries",
)
_DIE_ALL = statement(
    "UPDATE event_deliveries SET state = 'dead', error = :error, done_at = :done_at"
    " WHERE subscription_id = :subscription_id AND state = 'waiting'",
    "event_deliveries",
)
_DROP = statement(
    "DELETE FROM event_deliveries WHERE subscription_id = :subscription_id AND state <> 'done'",
    "event_deliveries",
)
_LIST = (
    "SELECT d.id, d.subscription_id, d.event_id, d.order_id, d.state, d.attempts, d.next_at,"
    " d.error, d.created_at, d.done_at, e.event_type FROM event_deliveries d"
    " JOIN order_events e ON e.event_id = d.event_id WHERE d.id > :after"
)
_LIST_END = " ORDER BY d.id LIMIT :row_limit"
_DOCUMENT = query("SELECT document FROM order_events WHERE event_id = :event_id", "order_events")
_AGAIN = (
    "UPDATE event_deliveries SET state = 'waiting', attempts = 0, error = '', next_at = :next_at,"
    " done_at = NULL WHERE subscription_id IN (SELECT s.subscription_id FROM subscriptions s"
    " WHERE s.state = 'active')"
)
# Not what is done: that is never counted, since there may be much of it.
_BACKLOG = query(
    "SELECT d.state, count(*) AS n, min(d.created_at) AS created_at FROM event_deliveries d"
    " JOIN subscriptions s ON s.subscription_id = d.subscription_id AND s.state = 'active'"
    " WHERE d.state = 'waiting' GROUP BY d.state UNION ALL"
    " SELECT d.state, count(*) AS n, min(d.created_at) AS created_at FROM event_deliveries d"
    " WHERE d.state = 'dead' GROUP BY d.state",
    "event_deliveries",
)
_FORGET = (
    statement(
        "DELETE FROM event_deliveries WHERE state = 'done' AND done_at < :done_at",
        "event_deliveries",
    ),
    statement(
        "DELETE FROM order_events WHERE occurred_at < :occurred_at AND NOT EXISTS"
        " (SELECT 1 FROM event_deliveries d WHERE d.event_id = order_events.event_id)",
        "order_events",
    ),
)


class DeliveryState(StrEnum):
    """Whether an event still goes to a subscription, has reached it, or was given up."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


class DueEvent(Model):
    """An event that is to be told now; `attempts` were made before."""

    id: int
    event_id: str
    order_id: str
    attempts: int
    event_type: str
    document: dict[str, Any]


class Delivery(Model):
    """An event and what became of it at one subscription."""

    id: int
    subscription_id: str
    event_id: str
    event_type: str
    order_id: str
    state: DeliveryState
    attempts: int
    next_at: UtcTime
    error: str
    created_at: UtcTime
    done_at: UtcTime | None = None


class EventBacklog(Model):
    """How many events wait for active subscriptions, since when, and how many were given up."""

    waiting: int
    dead: int
    oldest: UtcTime | None


def due(session: Session, subscription_id: str, now: datetime, limit: int) -> list[DueEvent]:
    """What that subscription is to be told now, oldest first.

    Events of an order that follow one which has to wait are not among them.
    """
    asked = {"subscription_id": subscription_id, "next_at": now, "row_limit": limit}
    return [DueEvent.model_validate(dict(x)) for x in session.execute(_DUE, asked).mappings()]


def told(session: Session, ids: Iterable[int], now: datetime) -> None:
    """They were taken."""
    wanted = list(ids)
    if wanted:
        session.execute(_DONE, {"ids": wanted, "done_at": now})


def retry_later(session: Session, delivery_id: int, error: str, next_at: datetime) -> None:
    """It was not taken: due again at `next_at`; later events of its order wait for it."""
    session.execute(_LATER, {"id": delivery_id, "error": error, "next_at": next_at})


def give_up(session: Session, delivery_id: int, error: str, now: datetime) -> None:
    """It was not taken, and is not tried again until a person asks for it."""
    session.execute(_DIE, {"id": delivery_id, "error": error, "done_at": now})


def give_up_all(session: Session, subscription_id: str, error: str, now: datetime) -> None:
    """Nothing of what waits for that subscription is tried until a person asks for it."""
    row = {"subscription_id": subscription_id, "error": error, "done_at": now}
    session.execute(_DIE_ALL, row)


def drop_all(session: Session, subscription_id: str) -> None:
    """Forget what waits for that subscription, and what was given up."""
    session.execute(_DROP, {"subscription_id": subscription_id})


def deliveries(
    session: Session,
    *,
    state: DeliveryState | None = None,
    subscription_id: str | None = None,
    order_id: str | None = None,
    limit: int = 100,
    after: int = 0,
) -> list[Delivery]:
    """Events on their way or arrived, oldest first, from after that id."""
    wanted = None if state is None else state.value
    asked = {"state": wanted, "subscription_id": subscription_id, "order_id": order_id}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    conditions = "".join(f" AND d.{name} = :{name}" for name in given)
    sql = query(_LIST + conditions + _LIST_END, "event_deliveries", "order_events")
    rows = session.execute(sql, {**given, "after": after, "row_limit": limit}).mappings()
    return [Delivery.model_validate(dict(row)) for row in rows]


def delivery(session: Session, delivery_id: int) -> tuple[Delivery, dict[str, Any]]:
    """One of them and the document that is sent. Raises UnknownReferenceError."""
    found = deliveries(session, limit=1, after=delivery_id - 1)
    if not found or found[0].id != delivery_id:
        raise UnknownReferenceError(f"no delivery {delivery_id}")
    document = session.execute(_DOCUMENT, {"event_id": found[0].event_id}).scalar_one()
    return found[0], document


def again(session: Session, delivery_id: int, now: datetime) -> None:
    """Tell one event again, whatever became of it. Raises UnknownReferenceError."""
    sql = statement(f"{_AGAIN} AND id = :id", "event_deliveries")
    if not changed(session, sql, {"id": delivery_id, "next_at": now}):
        raise UnknownReferenceError(f"no delivery {delivery_id} to an active subscription")


def again_all(
    session: Session,
    *,
    now: datetime,
    state: DeliveryState | None = None,
    since: datetime | None = None,
    subscription_id: str | None = None,
) -> int:
    """Tell those events again that are given up or told (`state`), or made since; how many."""
    wanted = None if state is None else state.value
    asked = {"state": wanted, "subscription_id": subscription_id}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    conditions = "".join(f" AND {name} = :{name}" for name in given)
    if since is not None:
        given["created_at"] = since
        conditions += " AND created_at >= :created_at"
    sql = statement(_AGAIN + conditions, "event_deliveries")
    return changed(session, sql, {**given, "next_at": now})


def backlog(session: Session) -> EventBacklog:
    """What has not arrived."""
    found = {row.state: row for row in session.execute(_BACKLOG)}
    waiting, dead = found.get("waiting"), found.get("dead")
    return EventBacklog(
        waiting=waiting.n if waiting else 0,
        dead=dead.n if dead else 0,
        oldest=waiting.created_at if waiting else None,
    )


def forget(session: Session, before: datetime) -> int:
    """Delete what was told before that time; how many deliveries."""
    told_rows, events = _FORGET
    forgotten = changed(session, told_rows, {"done_at": before})
    session.execute(events, {"occurred_at": before})
    return forgotten
