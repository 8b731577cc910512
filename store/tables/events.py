"""What others are told of orders: who listens, what was said, and what reached whom."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from store.tables.types import BigId, UtcDateTime

_WAITING = text("state = 'waiting'")
_DEAD = text("state = 'dead'")


class SubscriptionRow(SQLModel, table=True):
    """Who is told what, where; and the lease of the process that is telling."""

    __tablename__ = "subscriptions"
    subscription_id: str = Field(primary_key=True)
    url: str
    event_types: list[str] = Field(sa_type=JSON)
    brand: str | None = None
    channel: str | None = None
    secrets: list[dict[str, Any]] = Field(sa_type=JSON)
    state: str
    why: str = ""
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    failures: int = 0
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    claimed_by: str | None = None


class OrderEventRow(SQLModel, table=True):
    """One event as it is sent; never changed."""

    __tablename__ = "order_events"
    event_id: str = Field(primary_key=True)
    order_id: str = Field(index=True)
    event_type: str
    document: dict[str, Any] = Field(sa_type=JSON)
    occurred_at: datetime = Field(sa_type=UtcDateTime)


class EventDeliveryRow(SQLModel, table=True):
    """An event on its way to one subscription: waiting, done or dead."""

    __tablename__ = "event_deliveries"
    __table_args__ = (
        UniqueConstraint("subscription_id", "event_id", name="uq_event_deliveries_event"),
        Index(
            "ix_event_deliveries_due",
            "subscription_id",
            "next_at",
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
        Index(
            "ix_event_deliveries_order",
            "subscription_id",
            "order_id",
            "id",
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
        Index("ix_event_deliveries_dead", "id", sqlite_where=_DEAD, postgresql_where=_DEAD),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    subscription_id: str = Field(foreign_key="subscriptions.subscription_id")
    event_id: str = Field(foreign_key="order_events.event_id", index=True)
    order_id: str
    state: str
    attempts: int = 0
    next_at: datetime = Field(sa_type=UtcDateTime)
    error: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
