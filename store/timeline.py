"""An order's story, line by line."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from domain.plans import TimelineEntry
from store.columns import query, statement

_NOTE = statement(
    "INSERT INTO timeline (order_id, key, at, kind, text) VALUES (:order_id, :key, :at, :kind,"
    " :text) ON CONFLICT DO NOTHING",
    "timeline",
)
_READ = query(
    "SELECT key, at, kind, text FROM timeline WHERE order_id = :order_id ORDER BY at, key",
    "timeline",
)


def note(session: Session, order_id: str, entries: Iterable[TimelineEntry]) -> None:
    """Add entries; one whose key the order has already changes nothing."""
    rows = [
        {
            "order_id": order_id,
            "key": entry.key,
            "at": entry.at,
            "kind": entry.kind,
            "text": entry.text,
        }
        for entry in entries
    ]
    if rows:
        session.execute(_NOTE, rows)


def timeline(session: Session, order_id: str) -> tuple[TimelineEntry, ...]:
    """All entries of an order, oldest first."""
    rows = session.execute(_READ, {"order_id": order_id}).mappings()
    return tuple(TimelineEntry.model_validate(dict(row)) for row in rows)
