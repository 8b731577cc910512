"""Labels around their purchase: drafts stored before it, pictures after it."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.values import Id, Model
from store.columns import query, statement

_DRAFT = query(
    "SELECT connection_id, service, shipment_id, request_hash FROM label_drafts"
    " WHERE fulfillment_id = :fulfillment_id AND key = :key",
    "label_drafts",
)
_SAVE_DRAFT = statement(
    "INSERT INTO label_drafts (fulfillment_id, key, connection_id, service, shipment_id,"
    " request_hash) VALUES (:fulfillment_id, :key, :connection_id, :service, :shipment_id,"
    " :request_hash) ON CONFLICT (fulfillment_id, key) DO UPDATE SET"
    " connection_id = excluded.connection_id, service = excluded.service,"
    " shipment_id = excluded.shipment_id, request_hash = excluded.request_hash",
    "label_drafts",
)
_DROP_DRAFT = statement(
    "DELETE FROM label_drafts WHERE fulfillment_id = :fulfillment_id AND key = :key",
    "label_drafts",
)
_BOUGHT_FROM = query(
    "SELECT connection_id, document FROM labels WHERE fulfillment_id = :fulfillment_id"
    " AND package_id = :package_id",
    "labels",
)
_ON_THE_WAY = query(
    "SELECT DISTINCT l.tracking_number, l.fulfillment_id, l.connection_id FROM labels l"
    " JOIN packages p ON p.fulfillment_id = l.fulfillment_id"
    " AND p.tracking_number = l.tracking_number"
    " JOIN fulfillments f ON f.fulfillment_id = l.fulfillment_id"
    " WHERE f.closed = :closed AND l.connection_id IN :connection_ids"
    " AND p.status IN ('shipped', 'out_for_delivery', 'exception')"
    " AND l.tracking_number > :after ORDER BY l.tracking_number LIMIT :most",
    "fulfillments",
    lists=["connection_ids"],
)
_SAVE_IMAGE = statement(
    "INSERT INTO label_images (token, fulfillment_id, key, media_type, content, stored_at)"
    " VALUES (:token, :fulfillment_id, :key, :media_type, :content, :stored_at)",
    "label_images",
)
_IMAGE = query("SELECT media_type, content FROM label_images WHERE token = :token", "label_images")


class LabelDraft(Model):
    """A label about to be bought: from whom, by which service, under the carrier's own id."""

    connection_id: Id
    service: Id
    shipment_id: str | None = None
    request_hash: str
    """Of what was asked for: a draft for another address is bought no more."""


class LabelImage(Model):
    """A label as the carrier sent it."""

    media_type: str
    content: bytes


class ParcelOnTheWay(NamedTuple):
    """A parcel that left and has not arrived, and the connection that sold its label."""

    tracking_number: str
    fulfillment_id: str
    connection_id: str


def parcels_on_the_way(
    session: Session, connection_ids: Sequence[str], after: str, most: int
) -> list[ParcelOnTheWay]:
    """The next parcels of these connections after that tracking number, in its order."""
    asked = {"closed": False, "connection_ids": list(connection_ids), "after": after, "most": most}
    rows = session.execute(_ON_THE_WAY, asked).all()
    return [ParcelOnTheWay(*row) for row in rows]


def draft_of(session: Session, fulfillment_id: str, key: str) -> LabelDraft | None:
    """What an earlier attempt at this label set out to buy; None: nobody tried."""
    row = session.execute(_DRAFT, {"fulfillment_id": fulfillment_id, "key": key}).one_or_none()
    return None if row is None else LabelDraft(**row._mapping)


def save_draft(session: Session, fulfillment_id: str, key: str, draft: LabelDraft) -> None:
    """Keep it in place of an earlier one that was not bought."""
    place = {"fulfillment_id": fulfillment_id, "key": key}
    session.execute(_SAVE_DRAFT, {**draft.model_dump(), **place})


def drop_draft(session: Session, fulfillment_id: str, key: str) -> None:
    """Forget it: it was bought and kept, or refused."""
    session.execute(_DROP_DRAFT, {"fulfillment_id": fulfillment_id, "key": key})


def bought_from(
    session: Session, fulfillment_id: str, package_id: str, shipment_id: str
) -> str | None:
    """The connection a package's label was bought from, where it is known."""
    place = {"fulfillment_id": fulfillment_id, "package_id": package_id}
    for row in session.execute(_BOUGHT_FROM, place):
        if row.document.get("shipment_id") == shipment_id:
            return str(row.connection_id) if row.connection_id else None
    return None


def save_image(
    session: Session, fulfillment_id: str, key: str, image: LabelImage, now: datetime
) -> str:
    """Keep a label's picture; the token by which it is fetched, which nobody can guess."""
    token = secrets.token_hex(24)
    session.execute(
        _SAVE_IMAGE,
        {
            "token": token,
            "fulfillment_id": fulfillment_id,
            "key": key,
            "media_type": image.media_type,
            "content": image.content,
            "stored_at": now,
        },
    )
    return token


def label_image(session: Session, token: str) -> LabelImage:
    """The picture of that token. Raises UnknownReferenceError."""
    row = session.execute(_IMAGE, {"token": token}).one_or_none()
    if row is None:
        raise UnknownReferenceError("no such label")
    return LabelImage(media_type=row.media_type, content=row.content)
