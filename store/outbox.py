"""Signals that doms's own parts send to workflows, kept in the transaction that causes them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from store.messages import (
    LEASE,
    Message,
    claim_messages,
    count_messages,
    finish_messages,
    postpone_message,
    put_message,
    quarantine_message,
)


def send(
    session: Session,
    workflow_id: str,
    signal: str,
    payload: dict[str, Any],
    *,
    key: str,
    now: datetime,
) -> bool:
    """Keep a signal for delivery; False when that key was sent before."""
    _, is_new = put_message(
        session,
        {
            "direction": "out",
            "kind": "signal",
            "key": f"out/{key}",
            "connection_id": None,
            "event_id": None,
            "stream": workflow_id,
            "name": signal,
            "workflow_id": workflow_id,
            "payload": payload,
            "body": None,
            "headers": None,
            "state": "waiting",
            "next_at": now,
            "received_at": now,
        },
    )
    return is_new


def claim(
    session: Session,
    limit: int,
    now: datetime,
    *,
    lease: timedelta = LEASE,
    owner: str | None = None,
) -> list[Message]:
    """The oldest due signals, at most the oldest waiting one of each workflow, leased."""
    return claim_messages(session, "out", limit, now, lease, owner)


def done(session: Session, ids: Iterable[int], now: datetime) -> None:
    """Delivered: they never come again."""
    finish_messages(session, ids, now)


def retry_later(session: Session, message_id: int, error: str, next_at: datetime) -> None:
    """Not delivered: due again at `next_at`; later signals to that workflow wait for it."""
    postpone_message(session, message_id, error, next_at)


def quarantine(session: Session, message_id: int, reason: str) -> None:
    """Can never be delivered, such as to a workflow long closed."""
    quarantine_message(session, message_id, reason)


def counts(session: Session) -> dict[str, int]:
    """`waiting`, `done` and `quarantined` -> number of rows."""
    return count_messages(session, "out")
