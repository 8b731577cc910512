"""What inbox and outbox share: rows delivered at least once, in order within a stream."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field
from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.values import Model
from store.columns import changed, query, statement
from store.engine import is_sqlite

LEASE = timedelta(seconds=30)
"""How long a claimed row stays with its dispatcher; after that another may take it."""

_PUT = query(
    "INSERT INTO messages (direction, kind, key, connection_id, event_id, stream, name,"
    " workflow_id, payload, body, headers, state, attempts, next_at, received_at) VALUES"
    " (:direction, :kind, :key, :connection_id, :event_id, :stream, :name, :workflow_id,"
    " :payload, :body, :headers, :state, 0, :next_at, :received_at)"
    " ON CONFLICT (key) DO NOTHING RETURNING id",
    "messages",
)
_BY_KEY = query("SELECT id FROM messages WHERE key = :key", "messages")
_STANDING = query(
    "SELECT name, workflow_id, payload, state, error FROM messages WHERE id = :id", "messages"
)
_EARLIER = query(
    "SELECT id FROM messages WHERE stream = :stream AND direction = :direction"
    " AND state = 'waiting' AND id < :id LIMIT 1",
    "messages",
)
_DUE_AT = statement(
    "UPDATE messages SET next_at = :next_at WHERE id = :id AND state = 'waiting'", "messages"
)
_REFUSED = statement(
    "UPDATE messages SET state = 'done', done_at = :done_at, claimed_until = NULL, error = :error"
    " WHERE id = :id AND state = 'waiting'",
    "messages",
)
_PAYLOAD = query("SELECT payload FROM messages WHERE key = :key", "messages")
_NEXT = (
    "SELECT m.id FROM messages m WHERE m.state = 'waiting' AND m.direction = :direction"
    " AND m.next_at <= :next_at AND (m.claimed_until IS NULL OR m.claimed_until <= :next_at)"
    " AND NOT EXISTS (SELECT 1 FROM messages earlier WHERE earlier.stream = m.stream"
    " AND earlier.state = 'waiting' AND earlier.direction = m.direction AND earlier.id < m.id"
    " AND (earlier.next_at > :next_at OR earlier.claimed_until > :next_at))"
    " ORDER BY m.id LIMIT :row_limit"
)
_OLDEST = query(
    "SELECT stream, min(id) AS id FROM messages WHERE state = 'waiting'"
    " AND direction = :direction AND stream IN :streams GROUP BY stream",
    "messages",
    lists=["streams"],
)
_UNCLAIM = statement(
    "UPDATE messages SET claimed_until = NULL, claimed_by = NULL WHERE id IN :ids",
    "messages",
    lists=["ids"],
)
_CLAIM = (
    "UPDATE messages SET claimed_until = :claimed_until, claimed_by = :claimed_by"
    " WHERE id IN ({next}) RETURNING id, kind, connection_id, event_id, stream, name,"
    " workflow_id, payload, body, headers, attempts, received_at"
)
_CLAIM_SQLITE = query(_CLAIM.format(next=_NEXT), "messages")
# Materialized, so that PostgreSQL takes the limited, locked set once and not per joined row.
_CLAIM_LOCKING = query(
    f"WITH due AS MATERIALIZED ({_NEXT} FOR UPDATE OF m SKIP LOCKED) "  # noqa: S608 (own text)
    + _CLAIM.format(next="SELECT id FROM due"),
    "messages",
)
_DONE = statement(
    "UPDATE messages SET state = 'done', done_at = :done_at, claimed_until = NULL, error = NULL"
    " WHERE id IN :ids AND state = 'waiting'",
    "messages",
    lists=["ids"],
)
_LATER = statement(
    "UPDATE messages SET attempts = attempts + 1, error = :error, next_at = :next_at,"
    " claimed_until = NULL WHERE id = :id AND state = 'waiting'",
    "messages",
)
_QUARANTINE = statement(
    "UPDATE messages SET state = 'quarantined', error = :error, claimed_until = NULL"
    " WHERE id = :id AND state = 'waiting'",
    "messages",
)
_RELEASE = statement(
    "UPDATE messages SET state = 'waiting', error = NULL, attempts = 0, next_at = received_at,"
    " claimed_until = NULL WHERE id = :id AND state = 'quarantined'",
    "messages",
)
_COUNTS = query(
    "SELECT state, count(*) AS n FROM messages WHERE direction = :direction GROUP BY state",
    "messages",
)
_STUCK = query(
    "SELECT id, kind, connection_id, event_id, stream, name, workflow_id, payload, body, headers,"
    " attempts, received_at, error FROM messages"
    " WHERE direction = :direction AND state = 'quarantined' AND id > :after"
    " ORDER BY id LIMIT :row_limit",
    "messages",
)


class Message(Model):
    """A claimed row. `body` is the raw document where one was given, else `payload` is JSON."""

    id: int
    kind: str
    connection_id: str | None = None
    event_id: str | None = None
    stream: str | None = None
    name: str = ""
    workflow_id: str | None = None
    payload: Any = None
    body: bytes | None = None
    headers: dict[str, str] | None = Field(default=None)
    attempts: int = 0
    received_at: datetime
    error: str | None = None


class MessageStanding(Model):
    """What became of a message. A `done` one with an error was answered with that refusal."""

    name: str
    workflow_id: str | None = None
    payload: Any = None
    state: str
    error: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why it was refused, if it was."""
        return self.error if self.state == "done" else None


def put_message(session: Session, row: dict[str, Any]) -> tuple[int, bool]:
    """Insert a row unless its key is known; (id, whether it is new)."""
    inserted = session.execute(_PUT, row).one_or_none()
    if inserted is not None:
        return inserted.id, True
    return session.execute(_BY_KEY, {"key": row["key"]}).one().id, False


def message_standing(session: Session, message_id: int) -> MessageStanding:
    """What became of a kept message so far."""
    row = session.execute(_STANDING, {"id": message_id}).mappings().one()
    return MessageStanding.model_validate(dict(row))


def payload_by_key(session: Session, key: str) -> Any:
    """What was kept under that key; None when nothing was."""
    row = session.execute(_PAYLOAD, {"key": key}).one_or_none()
    return None if row is None else row.payload


def has_earlier(session: Session, direction: str, stream: str, message_id: int) -> bool:
    """Whether an earlier message of the stream still waits."""
    asked = {"stream": stream, "direction": direction, "id": message_id}
    return session.execute(_EARLIER, asked).one_or_none() is not None


def move_message(session: Session, message_id: int, next_at: datetime) -> None:
    """Due at that time and not before, if it still waits."""
    session.execute(_DUE_AT, {"id": message_id, "next_at": next_at})


def refuse_message(session: Session, message_id: int, reason: str, now: datetime) -> None:
    """Answered with a no, which is kept in `error`: it is not delivered any more."""
    session.execute(_REFUSED, {"id": message_id, "error": reason, "done_at": now})


def claim_messages(
    session: Session,
    direction: str,
    limit: int,
    now: datetime,
    lease: timedelta,
    owner: str | None = None,
) -> list[Message]:
    """The oldest due rows, leased to the caller; of each stream the oldest waiting ones in a row.

    The caller delivers those of a stream one after another, and none after one that failed.
    With `owner`, the lease ends early when `store.leases` finds that process dead.
    """
    sql = _CLAIM_SQLITE if is_sqlite(session) else _CLAIM_LOCKING
    rows = session.execute(
        sql,
        {
            "direction": direction,
            "next_at": now,
            "row_limit": limit,
            "claimed_until": now + lease,
            "claimed_by": owner,
        },
    )
    found = [Message.model_validate(dict(row)) for row in rows.mappings()]
    if not is_sqlite(session):
        found = _without_gaps(session, direction, found)
    return sorted(found, key=lambda message: message.id)


def _without_gaps(session: Session, direction: str, found: list[Message]) -> list[Message]:
    """Without rows of streams whose oldest row another dispatcher is claiming at this moment."""
    streams = sorted({message.stream for message in found if message.stream is not None})
    if not streams:
        return found
    place = {"direction": direction, "streams": streams}
    oldest = {row.stream: row.id for row in session.execute(_OLDEST, place)}
    ids = {message.id for message in found}
    torn = {stream for stream, first in oldest.items() if first not in ids}
    if torn:
        let_go_messages(session, [x.id for x in found if x.stream in torn])
    return [message for message in found if message.stream not in torn]


def let_go_messages(session: Session, ids: Iterable[int]) -> None:
    """Claimed but not tried: anybody may claim them again, once their stream is not held up."""
    wanted: Sequence[int] = list(ids)
    if wanted:
        session.execute(_UNCLAIM, {"ids": wanted})


def finish_messages(session: Session, ids: Iterable[int], now: datetime) -> None:
    """Delivered: they never come again."""
    wanted: Sequence[int] = list(ids)
    if wanted:
        session.execute(_DONE, {"ids": wanted, "done_at": now})


def postpone_message(session: Session, message_id: int, error: str, next_at: datetime) -> None:
    """Not delivered: due again at `next_at`; later rows of its stream wait for it."""
    session.execute(_LATER, {"id": message_id, "error": error, "next_at": next_at})


def quarantine_message(session: Session, message_id: int, reason: str) -> None:
    """Can never be delivered as it is: kept aside for a person; its stream goes on."""
    session.execute(_QUARANTINE, {"id": message_id, "error": reason})


def release_message(session: Session, message_id: int) -> None:
    """Try a quarantined row again. Raises UnknownReferenceError when there is none of that id."""
    if not changed(session, _RELEASE, {"id": message_id}):
        raise UnknownReferenceError(f"no quarantined message {message_id}")


def count_messages(session: Session, direction: str) -> dict[str, int]:
    """State -> number of rows; every state is there."""
    counts = {"waiting": 0, "done": 0, "quarantined": 0}
    rows = session.execute(_COUNTS, {"direction": direction})
    return counts | {row.state: row.n for row in rows}


def quarantined_messages(
    session: Session, direction: str, limit: int, after: int = 0
) -> list[Message]:
    """Rows kept aside, oldest first, from after that id, each with its reason in `error`."""
    asked = {"direction": direction, "row_limit": limit, "after": after}
    rows = session.execute(_STUCK, asked)
    return [Message.model_validate(dict(row)) for row in rows.mappings()]
