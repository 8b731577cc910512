"""What came in and must reach a workflow: starts, signals, captures and webhooks."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from store.messages import (
    LEASE,
    Message,
    MessageStanding,
    claim_messages,
    count_messages,
    finish_messages,
    has_earlier,
    message_standing,
    move_message,
    payload_by_key,
    postpone_message,
    put_message,
    quarantine_message,
    quarantined_messages,
    refuse_message,
    release_message,
)

InboxRow = Message
Kind = Literal["start", "signal", "capture", "webhook"]


def put(
    session: Session,
    *,
    kind: Kind,
    now: datetime,
    stream: str | None = None,
    name: str = "",
    workflow_id: str | None = None,
    payload: Any = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    connection_id: str | None = None,
    event_id: str | None = None,
    key: str | None = None,
) -> tuple[int, bool]:
    """Keep a message for delivery; (its id, whether it is new).

    (connection_id, event_id), when both are given, or else `key`, make a repeat change nothing.
    Rows of one `stream` are delivered one after another.
    """
    if connection_id is not None and event_id is not None:
        key = _event_key(connection_id, event_id)
    return put_message(
        session,
        {
            "direction": "in",
            "kind": kind,
            "key": key,
            "connection_id": connection_id,
            "event_id": event_id,
            "stream": stream,
            "name": name,
            "workflow_id": workflow_id,
            "payload": payload,
            "body": body,
            "headers": None if headers is None else dict(headers),
            "state": "waiting",
            "next_at": now,
            "received_at": now,
        },
    )


def _event_key(connection_id: str, event_id: str) -> str:
    return f"event/{connection_id}/{event_id}"


def payload_of_event(session: Session, connection_id: str, event_id: str) -> Any:
    """What was kept of that event; None when it is not known."""
    return payload_by_key(session, _event_key(connection_id, event_id))


def standing(session: Session, message_id: int) -> MessageStanding:
    """What became of a kept message so far."""
    return message_standing(session, message_id)


def is_next(session: Session, stream: str, message_id: int) -> bool:
    """Whether no earlier message of its stream waits."""
    return not has_earlier(session, "in", stream, message_id)


def due_at(session: Session, message_id: int, next_at: datetime) -> None:
    """Deliver it at that time and not before, unless it was settled meanwhile."""
    move_message(session, message_id, next_at)


def refuse(session: Session, message_id: int, reason: str, now: datetime) -> None:
    """It was answered with a no: the reason is kept, and it is not delivered any more."""
    refuse_message(session, message_id, reason, now)


def claim(
    session: Session,
    limit: int,
    now: datetime,
    *,
    lease: timedelta = LEASE,
    owner: str | None = None,
) -> list[InboxRow]:
    """The oldest due rows; of each stream the oldest waiting ones in a row.

    They are the caller's until `now + lease`; a dispatcher that dies loses them to another.
    """
    return claim_messages(session, "in", limit, now, lease, owner)


def done(session: Session, ids: Iterable[int], now: datetime) -> None:
    """Delivered: they never come again."""
    finish_messages(session, ids, now)


def retry_later(session: Session, message_id: int, error: str, next_at: datetime) -> None:
    """Not delivered: due again at `next_at`; later rows of its stream wait for it."""
    postpone_message(session, message_id, error, next_at)


def quarantine(session: Session, message_id: int, reason: str) -> None:
    """Can never be delivered as it is: kept aside for a person; its stream goes on."""
    quarantine_message(session, message_id, reason)


def quarantined(session: Session, limit: int = 100, after: int = 0) -> list[InboxRow]:
    """Rows kept aside, oldest first, from after that id, each with its reason in `error`."""
    return quarantined_messages(session, "in", limit, after)


def release_quarantined(session: Session, message_id: int) -> None:
    """Try a quarantined row again. Raises UnknownReferenceError when there is none of that id."""
    release_message(session, message_id)


def counts(session: Session) -> dict[str, int]:
    """`waiting`, `done` and `quarantined` -> number of rows."""
    return count_messages(session, "in")
