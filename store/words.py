"""What people and other systems said about an order: free text that no workflow gets to see.

A workflow knows the id of a request, or the key under which an activity kept a refusal; what is
shown to people joins the words again.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from domain.plans import NodeOverride, TimelineEntry
from domain.stages import Attention, Hold
from domain.values import Model, UtcTime
from store.columns import query, statement

LONGEST = 1_000
"""Characters that are kept."""
CODES = frozenset(
    {
        "customer",
        "support",
        "fraud",
        "duplicate",
        "payment",
        "no_capacity",
        "not_found",
        "damaged",
        "closed",
        "other",
    }
)
"""Reasons that are no free text: a workflow may know them."""

_KEEP = statement(
    "INSERT INTO words (order_id, key, about, said_by, text, in_story, at)"
    " VALUES (:order_id, :key, :about, :said_by, :text, :in_story, :at)"
    " ON CONFLICT (order_id, key) DO UPDATE SET text = excluded.text,"
    " in_story = excluded.in_story, at = excluded.at",
    "words",
)
_OF_ORDER = query(
    "SELECT key, about, said_by, text, in_story, at FROM words WHERE order_id = :order_id"
    " ORDER BY at, key",
    "words",
)
_ONE = query("SELECT text FROM words WHERE order_id = :order_id AND key = :key", "words")
_KEPT_UNDER = "; words kept under "
_REFERENCE = re.compile(rf"{_KEPT_UNDER}([\w.-]+)")


class Words(Model):
    """Somebody's words on something; `in_story` where the order's story tells of them."""

    key: str
    about: str
    said_by: str
    text: str
    in_story: bool
    at: UtcTime


def of_request(request_id: str) -> str:
    """The key of the words that came with a request."""
    return f"request/{request_id}"


def keep(
    session: Session,
    order_id: str,
    key: str,
    text: str,
    *,
    about: str,
    said_by: str,
    at: datetime,
    in_story: bool = True,
) -> None:
    """Keep words under a key of the order; later ones under that key take their place."""
    row = {
        "order_id": order_id,
        "key": key,
        "about": about,
        "said_by": said_by,
        "text": text[:LONGEST],
        "in_story": in_story,
        "at": at,
    }
    session.execute(_KEEP, row)


def apart(
    session: Session,
    order_id: str,
    key: str,
    text: str,
    *,
    about: str,
    said_by: str,
    at: datetime,
) -> str:
    """Keep free text apart; what a workflow may know of it: the text where it is a code."""
    if not text or text in CODES:
        return text
    keep(session, order_id, key, text, about=about, said_by=said_by, at=at)
    return ""


def text_of(session: Session, order_id: str, key: str) -> str:
    """The words under a key; empty where there are none."""
    row = session.execute(_ONE, {"order_id": order_id, "key": key}).one_or_none()
    return "" if row is None else str(row.text)


def of_order(session: Session, order_id: str) -> dict[str, Words]:
    """All words about an order by key, oldest first."""
    rows = session.execute(_OF_ORDER, {"order_id": order_id}).mappings()
    return {row["key"]: Words.model_validate(dict(row)) for row in rows}


def reference(key: str) -> str:
    """How a text without the words refers to them, at its end."""
    return f"{_KEPT_UNDER}{key}"


def told(text: str, known: Mapping[str, Words]) -> str:
    """A text with the words it refers to; a reference to unknown ones stays as it is."""

    def words(found: re.Match[str]) -> str:
        said = known.get(found[1])
        return found[0] if said is None else f": {said.text}"

    return _REFERENCE.sub(words, text)


def told_attention(attention: Attention | None, known: Mapping[str, Words]) -> Attention | None:
    """What a person is asked, in full."""
    if attention is None:
        return None
    return attention.model_copy(update={"reason": told(attention.reason, known)})


def told_hold(hold: Hold, known: Mapping[str, Words]) -> Hold:
    """The hold with the reason that was given for it."""
    said = known.get(of_request(hold.request_id)) if hold.request_id and not hold.reason else None
    return hold if said is None else hold.model_copy(update={"reason": said.text})


def told_override(override: NodeOverride, known: Mapping[str, Words]) -> NodeOverride:
    """The choice of a node with the reason that was given for it."""
    said = None if override.reason else known.get(of_request(override.request_id))
    return override if said is None else override.model_copy(update={"reason": said.text[:256]})


def in_story(
    entries: Iterable[TimelineEntry], known: Mapping[str, Words]
) -> tuple[TimelineEntry, ...]:
    """The story with what was said, by time."""
    said = [
        TimelineEntry(
            key=f"words/{words.key}",
            at=words.at,
            kind="words",
            text=f"{words.said_by}, {words.about}: {words.text}",
        )
        for words in known.values()
        if words.in_story
    ]
    return tuple(sorted([*said, *entries], key=lambda entry: entry.at)) if said else tuple(entries)
