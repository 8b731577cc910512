"""Who holds claimed messages, so that those of a process that died are free at once.

A lease also ends by itself (`store.messages.LEASE`); a message delivered twice changes nothing, so
a process that is wrongly taken for dead does no harm.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.orm import Session

from store.columns import changed, query, statement

SILENCE = timedelta(seconds=10)
"""A process on another machine that has said nothing for so long is dead."""

_BEAT = statement(
    "INSERT INTO dispatchers (owner, host, process, beat_at)"
    " VALUES (:owner, :host, :process, :beat_at)"
    " ON CONFLICT (owner) DO UPDATE SET beat_at = excluded.beat_at",
    "dispatchers",
)
_OTHERS = query(
    "SELECT owner, host, process, beat_at FROM dispatchers WHERE owner <> :owner", "dispatchers"
)
_FORGET = statement("DELETE FROM dispatchers WHERE owner = :owner", "dispatchers")
_FREE = statement(
    "UPDATE messages SET claimed_until = NULL, claimed_by = NULL"
    " WHERE state = 'waiting' AND claimed_by = :claimed_by AND claimed_until IS NOT NULL",
    "messages",
)


class Owner(NamedTuple):
    """One dispatcher: `owner` is unique, and begins with what is unique to its process's start."""

    owner: str
    host: str
    process: int


def beat(session: Session, owner: Owner, now: datetime) -> None:
    """Say that this process lives."""
    session.execute(_BEAT, {**owner._asdict(), "beat_at": now})


def free_leases_of_the_dead(
    session: Session, owner: Owner, now: datetime, lives: Callable[[int], bool]
) -> int:
    """Let go what dead processes had claimed; how many messages.

    `lives` says of a process id whether such a process runs on this machine. Another owner with
    this process's own id is its predecessor, such as in a container that started again, unless it
    is of the same start.
    """
    freed, start = 0, owner.owner.rpartition("/")[0]
    for other in session.execute(_OTHERS, {"owner": owner.owner}).all():
        if other.owner.rpartition("/")[0] == start:
            continue
        is_here = other.host == owner.host
        has_ended = is_here and (other.process == owner.process or not lives(other.process))
        if has_ended or other.beat_at <= now - SILENCE:
            freed += changed(session, _FREE, {"claimed_by": other.owner})
            session.execute(_FORGET, {"owner": other.owner})
    return freed
