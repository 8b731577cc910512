"""Business keys: a stock-changing call that was already applied changes nothing the second time."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import ConflictError
from store.columns import changed, query, statement

_CLAIM = statement(
    "INSERT INTO operations (key, kind, at, result, content)"
    " VALUES (:key, :kind, :at, :result, :content) ON CONFLICT DO NOTHING",
    "operations",
)
_READ = query("SELECT kind, result, content FROM operations WHERE key = :key", "operations")
_FINISH = statement("UPDATE operations SET result = :result WHERE key = :key", "operations")
_WORDS = {
    "set_stock": "stock count",
    "cycle_count": "count by people",
    "adjust": "stock adjustment",
    "hold": "cart's hold",
    "reserve_plan": "plan's reservation",
    "claim_release": "release",
    "consume": "hand-over",
    "free_reserved": "freeing of reserved units",
    "free_released": "freeing of released units",
    "add_backorder": "backorder",
    "drop_backorder": "dropped backorder",
}
"""Kinds of operations as people call them; others are words already."""
_FORGET = statement("DELETE FROM operations WHERE key = :key", "operations")


@dataclass(frozen=True)
class Claim:
    """Whether the key is new; if not, what the first call answered (JSON)."""

    is_new: bool
    result: Any = None


def claim(
    session: Session,
    key: str,
    kind: str,
    now: datetime,
    result: Any = None,
    *,
    content: Any = None,
) -> Claim:
    """Take a key for an operation of that kind, with its result where that is known beforehand.

    The same key in another open transaction makes this wait for its end. Raises ConflictError
    when the key belongs to another kind of operation, or to one that said something else:
    `content` is all that the caller asked for (JSON; times and decimals as text), None where that
    cannot differ.
    """
    said = None if content is None else content_hash(content)
    row = {"key": key, "kind": kind, "at": now, "result": result, "content": said}
    if changed(session, _CLAIM, row):
        return Claim(is_new=True)
    return Claim(is_new=False, result=_first(session, key, kind, said))


def earlier(session: Session, key: str, kind: str, *, content: Any) -> Any:
    """What the first call of that key answered; None where there was none.

    Raises ConflictError as `claim` does.
    """
    return _first(session, key, kind, content_hash(content))


def _first(session: Session, key: str, kind: str, said: str | None) -> Any:
    first = session.execute(_READ, {"key": key}).one_or_none()
    if first is None:
        return None
    if first.kind != kind:
        raise used_for_another(key, first.kind, kind)
    if said is not None and first.content is not None and first.content != said:
        raise used_for_another(key, kind, kind)
    return first.result


def used_for_another(key: str, first: str, now: str) -> ConflictError:
    """A key that stands for something else already; `first` and `now` are kinds of operations."""
    if first == now:
        return ConflictError(f"key '{key}' was used for another {_words(now)}; use a new one")
    return ConflictError(
        f"key '{key}' was used for a {_words(first)}; use another for a {_words(now)}"
    )


def _words(kind: str) -> str:
    return _WORDS.get(kind, kind.replace("_", " "))


def content_hash(content: Any) -> str:
    """SHA-256 of JSON content, whatever the order of its keys; what JSON lacks counts as text."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def finish(session: Session, key: str, result: Any) -> None:
    """Keep the operation's result for repeats."""
    session.execute(_FINISH, {"key": key, "result": result})


def forget(session: Session, key: str) -> None:
    """Let the key be used again: the operation turned out not to be possible now."""
    session.execute(_FORGET, {"key": key})
