"""Messages in and out, policies, and who may call."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from store.tables.types import BigId, JsonOrNull, UtcDateTime

_WAITING = text("state = 'waiting'")
_QUARANTINED = text("state = 'quarantined'")


class MessageRow(SQLModel, table=True):
    """To be delivered: in (starts, signals, captures, webhooks) or out (doms's own signals)."""

    __tablename__ = "messages"
    __table_args__ = (
        Index(
            "ix_messages_waiting",
            "direction",
            "id",
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
        Index(
            "ix_messages_stream", "stream", "id", sqlite_where=_WAITING, postgresql_where=_WAITING
        ),
        Index(
            "ix_messages_quarantined",
            "direction",
            "id",
            sqlite_where=_QUARANTINED,
            postgresql_where=_QUARANTINED,
        ),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    direction: str
    kind: str
    key: str | None = Field(default=None, unique=True)
    connection_id: str | None = None
    event_id: str | None = None
    stream: str | None = None
    name: str
    workflow_id: str | None = None
    payload: Any = Field(default=None, sa_type=JsonOrNull, nullable=True)
    body: bytes | None = None
    headers: dict[str, str] | None = Field(default=None, sa_type=JsonOrNull)
    state: str
    attempts: int = 0
    next_at: datetime = Field(sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    claimed_by: str | None = None
    error: str | None = None
    received_at: datetime = Field(sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DispatcherRow(SQLModel, table=True):
    """A process that claims messages, and when it last said that it lives."""

    __tablename__ = "dispatchers"
    owner: str = Field(primary_key=True)
    host: str
    process: int
    beat_at: datetime = Field(sa_type=UtcDateTime)


class PolicyRow(SQLModel, table=True):
    """A published policy; its version is its content's hash, so it never changes."""

    __tablename__ = "policies"
    version: str = Field(primary_key=True)
    kind: str
    document: dict[str, Any] = Field(sa_type=JSON)
    published_at: datetime = Field(sa_type=UtcDateTime)


class PolicyActivationRow(SQLModel, table=True):
    """From when to when a policy holds for a scope; a part of the scope left out means all."""

    __tablename__ = "policy_activations"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    version: str = Field(foreign_key="policies.version")
    kind: str
    brand: str | None = None
    region: str | None = None
    order_type: str | None = None
    channel: str | None = None
    activated_at: datetime = Field(sa_type=UtcDateTime)
    deactivated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    share: int = 100
    starts_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ends_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    guardrails: list[str] = Field(default_factory=list, sa_type=JSON)
    minimum_orders: int = 100
    rolls_back: bool = False
    ended_because: str | None = None


class PolicyAlertRow(SQLModel, table=True):
    """A guardrail of an activation that broke; once for each, however long it stays broken."""

    __tablename__ = "policy_alerts"
    __table_args__ = (
        UniqueConstraint("activation_id", "guardrail", name="uq_policy_alerts_guardrail"),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    activation_id: int = Field(foreign_key="policy_activations.id", sa_type=BigId)
    guardrail: str
    value: str
    cases: int
    raised_at: datetime = Field(sa_type=UtcDateTime)


class ApiKeyRow(SQLModel, table=True):
    """A caller, known by the hash of the key."""

    __tablename__ = "api_keys"
    key_hash: str = Field(primary_key=True)
    name: str
    roles: list[str] = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
