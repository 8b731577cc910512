"""How much waits for delivery and since when; cheap however many messages were delivered before."""

from datetime import datetime

from sqlalchemy.orm import Session

from domain.values import Count, Model, UtcTime
from store.columns import query

_WAITING = query(
    "SELECT count(*) AS n, min(received_at) AS received_at FROM messages"
    " WHERE state = 'waiting' AND direction = :direction",
    "messages",
)
_QUARANTINED = query(
    "SELECT count(*) AS n FROM messages WHERE state = 'quarantined' AND direction = :direction",
    "messages",
)


class Backlog(Model):
    """Messages of one direction (`in` or `out`) that are not done."""

    direction: str
    waiting: Count
    quarantined: Count
    oldest: UtcTime | None = None


def backlogs(session: Session) -> tuple[Backlog, ...]:
    """Both directions."""
    return tuple(_backlog(session, direction) for direction in ("in", "out"))


def _backlog(session: Session, direction: str) -> Backlog:
    waiting = session.execute(_WAITING, {"direction": direction}).one()
    quarantined = session.execute(_QUARANTINED, {"direction": direction}).scalar_one()
    oldest: datetime | None = waiting.received_at
    return Backlog(direction=direction, waiting=waiting.n, quarantined=quarantined, oldest=oldest)
