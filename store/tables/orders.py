"""Orders, their read model, and what is made for them: plans, fulfillments, packages, approvals."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from store.tables.types import JsonOrNull, UtcDateTime


class OrderRow(SQLModel, table=True):
    """An order: what its document says, and where its workflow last said it stands."""

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("source", "external_id", name="uq_orders_external"),
        Index("ix_orders_newest", "received_at", "order_id"),
        Index("ix_orders_tracking", "tracking_token", unique=True),
        Index("ix_orders_stage", "stage", "received_at", "order_id"),
        Index(
            "ix_orders_open",
            "received_at",
            sqlite_where=text("closed = 0"),
            postgresql_where=text("NOT closed"),
        ),
        Index(
            "ix_orders_attention",
            "received_at",
            "order_id",
            sqlite_where=text("needs_attention = 1"),
            postgresql_where=text("needs_attention"),
        ),
    )
    order_id: str = Field(primary_key=True)
    source: str
    external_id: str
    version: int
    workflow_id: str
    order_type: str
    channel: str
    brand: str
    region: str
    currency: str
    total: str
    account_id: str | None = Field(default=None, index=True)
    payment_status: str
    placed_at: datetime = Field(sa_type=UtcDateTime)
    received_at: datetime = Field(sa_type=UtcDateTime)
    entered_by: str
    revision: int
    stage: str
    displayed: str
    holds: list[dict[str, Any]] = Field(sa_type=JSON)
    attention: dict[str, Any] | None = Field(default=None, sa_type=JsonOrNull)
    needs_attention: bool = False
    promise_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    decision_id: str | None = None
    plan_version: int = 0
    awaits: str = ""
    closed: bool = False
    updated_at: datetime = Field(sa_type=UtcDateTime)
    routing_policy: str | None = None
    process_policy: str | None = None
    tracking_token: str | None = None
    release_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the first of its reserved plans is released, if nothing holds it up."""
    overrides: list[dict[str, Any]] | None = Field(default=None, sa_type=JsonOrNull)
    """What people said of its nodes."""


class OrderVersionRow(SQLModel, table=True):
    """One version of an order's document, never changed."""

    __tablename__ = "order_versions"
    order_id: str = Field(primary_key=True, foreign_key="orders.order_id")
    version: int = Field(primary_key=True)
    content_hash: str
    document: dict[str, Any] = Field(sa_type=JSON)
    entered_by: str
    received_at: datetime = Field(sa_type=UtcDateTime)


class OrderLineRow(SQLModel, table=True):
    """How many units of a line are where, as the order's workflow last said."""

    __tablename__ = "order_lines"
    order_id: str = Field(primary_key=True, foreign_key="orders.order_id")
    line_id: str = Field(primary_key=True)
    parent_line_id: str | None = None
    position: int
    sku: str
    ship_group: str
    ordered: int
    open: int = 0
    backordered: int = 0
    reserved: int = 0
    released: int = 0
    picked: int = 0
    shipped: int = 0
    delivered: int = 0
    cancelled: int = 0
    returned: int = 0


class AddressRow(SQLModel, table=True):
    """A ship group's changed address. Personal. `used_in_version` once it took effect."""

    __tablename__ = "addresses"
    address_id: str = Field(primary_key=True)
    order_id: str = Field(index=True)
    group_id: str
    address: dict[str, Any] = Field(sa_type=JSON)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_in_version: int | None = None


class TimelineRow(SQLModel, table=True):
    """One line of an order's story."""

    __tablename__ = "timeline"
    __table_args__ = ({"sqlite_with_rowid": False},)
    order_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    kind: str
    text: str


class PlanRow(SQLModel, table=True):
    """A plan and whether it holds stock: reserved, released or freed."""

    __tablename__ = "plans"
    order_id: str = Field(primary_key=True)
    plan_version: int = Field(primary_key=True)
    state: str
    document: dict[str, Any] = Field(sa_type=JSON)
    saved_at: datetime = Field(sa_type=UtcDateTime)
    moved_to: int | None = None
    """The plan that a brokering run put in its place."""


class FulfillmentRow(SQLModel, table=True):
    """What a node was asked, and where its workflow last said it stands."""

    __tablename__ = "fulfillments"
    __table_args__ = (Index("ix_fulfillments_node", "node_id", "closed"),)
    fulfillment_id: str = Field(primary_key=True)
    order_id: str = Field(index=True)
    plan_version: int
    node_id: str
    ship_group: str
    method: str
    service_id: str | None = None
    document: dict[str, Any] = Field(sa_type=JSON)
    revision: int
    status: str
    attention: dict[str, Any] | None = Field(default=None, sa_type=JsonOrNull)
    awaits: str = ""
    closed: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class FulfillmentLineRow(SQLModel, table=True):
    """Cumulative progress of the units of one line in a fulfillment."""

    __tablename__ = "fulfillment_lines"
    fulfillment_id: str = Field(primary_key=True, foreign_key="fulfillments.fulfillment_id")
    line_id: str = Field(primary_key=True)
    sku: str
    quantity: int
    picked: int = 0
    shipped: int = 0
    delivered: int = 0
    cancelled: int = 0
    returned_to_order: int = 0
    picked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PackageRow(SQLModel, table=True):
    """A box of a fulfillment with its present label."""

    __tablename__ = "packages"
    fulfillment_id: str = Field(primary_key=True, foreign_key="fulfillments.fulfillment_id")
    package_id: str = Field(primary_key=True)
    position: int = 0
    tracking_number: str | None = Field(default=None, index=True)
    carrier: str | None = None
    service: str | None = None
    status: str
    document: dict[str, Any] = Field(sa_type=JSON)


class LabelRow(SQLModel, table=True):
    """A label that was bought under that key; kept when a re-shipment gets another one."""

    __tablename__ = "labels"
    fulfillment_id: str = Field(primary_key=True, foreign_key="fulfillments.fulfillment_id")
    key: str = Field(primary_key=True)
    package_id: str
    tracking_number: str = Field(index=True)
    carrier: str | None = None
    service: str | None = None
    connection_id: str | None = None
    document: dict[str, Any] = Field(sa_type=JSON)


class LabelDraftRow(SQLModel, table=True):
    """What a package's label is bought with, stored before it is bought."""

    __tablename__ = "label_drafts"
    fulfillment_id: str = Field(primary_key=True, foreign_key="fulfillments.fulfillment_id")
    key: str = Field(primary_key=True)
    connection_id: str
    service: str
    shipment_id: str | None = None
    request_hash: str


class LabelImageRow(SQLModel, table=True):
    """A label as the carrier sent it; whoever knows the token may fetch it."""

    __tablename__ = "label_images"
    token: str = Field(primary_key=True)
    fulfillment_id: str = Field(index=True, foreign_key="fulfillments.fulfillment_id")
    key: str
    media_type: str
    content: bytes
    stored_at: datetime = Field(sa_type=UtcDateTime)


class DecisionRow(SQLModel, table=True):
    """A routing decision with all it looked at, as compressed JSON."""

    __tablename__ = "decisions"
    __table_args__ = (
        Index(
            "ix_decisions_of_no_order",
            "saved_at",
            sqlite_where=text("order_id IS NULL"),
            postgresql_where=text("order_id IS NULL"),
        ),
    )
    decision_id: str = Field(primary_key=True)
    order_id: str | None = Field(default=None, index=True)
    saved_at: datetime = Field(sa_type=UtcDateTime)
    record: bytes


class ApprovalRow(SQLModel, table=True):
    """One level of an order's approval chain."""

    __tablename__ = "approvals"
    __table_args__ = (
        Index(
            "ix_approvals_waiting",
            "role",
            "asked_at",
            sqlite_where=text("outcome IS NULL"),
            postgresql_where=text("outcome IS NULL"),
        ),
    )
    order_id: str = Field(primary_key=True)
    level: int = Field(primary_key=True)
    role: str
    asked_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = None
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ApprovalVoteRow(SQLModel, table=True):
    """Somebody's vote, counted or not, and why not."""

    __tablename__ = "approval_votes"
    order_id: str = Field(primary_key=True)
    level: int = Field(primary_key=True)
    request_id: str = Field(primary_key=True)
    approver: str
    role: str
    verdict: str
    counted: bool
    why: str
    at: datetime = Field(sa_type=UtcDateTime)
