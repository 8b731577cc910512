"""Stock, its ledger, and everything that takes from it or waits for it."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Index, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel

from store.tables.types import BigId, UtcDateTime

BUCKETS = (
    "usable",
    "damaged",
    "quarantine",
    "suspect",
    "held",
    "reserved",
    "released",
    "claimed",
    "safety_stock",
    "protected",
)


def _not_negative(name: str, columns: tuple[str, ...]) -> CheckConstraint:
    condition = " AND ".join(f"{column} >= 0" for column in columns)
    return CheckConstraint(condition, name=f"ck_{name}_not_negative")


class PositionRow(SQLModel, table=True):
    """Units of a SKU at a node. Clustered by SKU: every question asks for a SKU over all nodes."""

    __tablename__ = "positions"
    __table_args__ = (_not_negative("positions", BUCKETS), {"sqlite_with_rowid": False})
    sku: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True, index=True)
    usable: int = 0
    damaged: int = 0
    quarantine: int = 0
    suspect: int = 0
    held: int = 0
    reserved: int = 0
    released: int = 0
    claimed: int = 0
    safety_stock: int = 0
    protected: int = 0


class LedgerRow(SQLModel, table=True):
    """One change of one bucket; append-only. The sum of `delta` is what the bucket holds."""

    __tablename__ = "ledger"
    __table_args__ = (
        UniqueConstraint("key", "node_id", "sku", "bucket", name="uq_ledger_key"),
        Index("ix_ledger_position", "sku", "node_id", "bucket", "at"),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    key: str
    at: datetime = Field(sa_type=UtcDateTime)
    node_id: str
    sku: str
    bucket: str
    delta: int
    kind: str
    order_id: str | None = None
    fulfillment_id: str | None = Field(default=None, index=True)
    reason: str | None = None
    occurred_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it happened, where that was before `at`, when doms booked it."""


class ProtectionRow(SQLModel, table=True):
    """Units of a position kept for one channel; a position's `protected` is the sum of these.

    `level` is what the rules want kept: what the channel sold of it is refilled up to there.
    """

    __tablename__ = "protections"
    __table_args__ = (
        _not_negative("protections", ("quantity", "level")),
        Index(
            "ix_protections_to_refill",
            "sku",
            "node_id",
            sqlite_where=text("quantity < level"),
            postgresql_where=text("quantity < level"),
        ),
        {"sqlite_with_rowid": False},
    )
    sku: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    channel: str = Field(primary_key=True)
    quantity: int
    level: int


class ExclusionRow(SQLModel, table=True):
    """A node whose units are not promised: of one SKU or (empty SKU) of all; null: until lifted."""

    __tablename__ = "exclusions"
    __table_args__ = ({"sqlite_with_rowid": False},)
    sku: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str


class StockRulesRow(SQLModel, table=True):
    """A document of stock rules; the newest row is in force. Equal documents share a version."""

    __tablename__ = "stock_rules"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    version: str
    document: dict[str, Any] = Field(sa_type=JSON)
    activated_at: datetime = Field(sa_type=UtcDateTime)


class VelocityRow(SQLModel, table=True):
    """Units of a SKU that left a node in the `days` before `measured_at`."""

    __tablename__ = "velocities"
    __table_args__ = (
        _not_negative("velocities", ("units",)),
        {"sqlite_with_rowid": False},
    )
    sku: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    units: int
    days: int
    measured_at: datetime = Field(sa_type=UtcDateTime)


class DiscrepancyRow(SQLModel, table=True):
    """A count, or a sale at a till, that does not agree with what was believed to be there."""

    __tablename__ = "discrepancies"
    __table_args__ = (
        Index("ix_discrepancies_position", "sku", "node_id"),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    key: str
    kind: str
    node_id: str
    sku: str
    condition: str
    expected: int
    found: int
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    noted_at: datetime = Field(sa_type=UtcDateTime)


class OperationRow(SQLModel, table=True):
    """A stock-changing call that was applied, by its business key, and what it answered.

    `content` is the hash of what it said: a key stands for one content. Null in older rows.
    """

    __tablename__ = "operations"
    __table_args__ = ({"sqlite_with_rowid": False},)
    key: str = Field(primary_key=True)
    kind: str
    at: datetime = Field(sa_type=UtcDateTime)
    result: Any = Field(default=None, sa_type=JSON)
    content: str | None = None


class StockCountRow(SQLModel, table=True):
    """The newest count applied of one condition of a position; older ones are ignored."""

    __tablename__ = "stock_counts"
    sku: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    condition: str = Field(primary_key=True)
    quantity: int
    counted_at: datetime = Field(sa_type=UtcDateTime)
    by_people: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """A cycle count: of what lies on the shelf, whatever the node's feed means."""


class ReservationRow(SQLModel, table=True):
    """Units of an order line at a node under one reservation; each unit is in one of four places.

    `granted` rows came from arriving supply: their units count in the bucket `claimed`.
    `counted` is false for products without counted stock (infinite, lead time).
    """

    __tablename__ = "reservations"
    __table_args__ = (
        CheckConstraint(
            "quantity = reserved + released + consumed + freed", name="ck_reservations_sum"
        ),
        _not_negative("reservations", ("reserved", "released", "consumed", "freed")),
        {"sqlite_with_rowid": False},
    )
    reservation_id: str = Field(primary_key=True)
    line_id: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    sku: str
    order_id: str = Field(index=True)
    plan_version: int | None = None
    fulfillment_id: str | None = Field(default=None, index=True)
    work_date: str | None = None
    quantity: int
    reserved: int = 0
    released: int = 0
    consumed: int = 0
    freed: int = 0
    granted: bool = False
    counted: bool = True


class CartHoldRow(SQLModel, table=True):
    """What a cart holds until it expires, or, once bound to an order, until that is reserved.

    `ended` says how it ended (released, expired, used); then it has no lines any more.
    """

    __tablename__ = "cart_holds"
    __table_args__ = (
        Index(
            "ix_cart_holds_expires_at",
            "expires_at",
            sqlite_where=text("ended IS NULL"),
            postgresql_where=text("ended IS NULL"),
        ),
    )
    hold_id: str = Field(primary_key=True)
    channel: str = ""
    order_id: str | None = Field(default=None, index=True)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended: str | None = None


class HoldLineRow(SQLModel, table=True):
    """Units of one line of a hold at one node: wanted, and got. `counted` as in a reservation."""

    __tablename__ = "hold_lines"
    __table_args__ = (
        _not_negative("hold_lines", ("wanted", "quantity")),
        Index("ix_hold_lines_position", "sku", "node_id"),
        {"sqlite_with_rowid": False},
    )
    hold_id: str = Field(primary_key=True)
    line_id: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    sku: str
    wanted: int
    quantity: int
    counted: bool = True


class CapacityRow(SQLModel, table=True):
    """What a node's local work date already has to do."""

    __tablename__ = "capacity"
    __table_args__ = (
        _not_negative("capacity", ("units_used", "orders_used")),
        {"sqlite_with_rowid": False},
    )
    node_id: str = Field(primary_key=True)
    work_date: str = Field(primary_key=True)
    units_used: int = 0
    orders_used: int = 0


class BackorderRow(SQLModel, table=True):
    """Units of an order line that wait for supply, first served by class, promise, age."""

    __tablename__ = "backorders"
    __table_args__ = (
        _not_negative("backorders", ("quantity",)),
        Index("ix_backorders_queue", "sku", "demand_class", "promise_at", "since"),
    )
    order_id: str = Field(primary_key=True)
    line_id: str = Field(primary_key=True)
    sku: str
    quantity: int
    demand_class: str
    promise_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    since: datetime = Field(sa_type=UtcDateTime)
    bundle: str | None = None
    """Lines of the order with the same bundle are granted whole, at one node, or not at all."""


class GrantRow(SQLModel, table=True):
    """Gives each grant of arriving supply its number."""

    __tablename__ = "grants"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    order_id: str
    granted_at: datetime = Field(sa_type=UtcDateTime)


class SupplyRow(SQLModel, table=True):
    """Units expected at a node (purchase order, in transit, planned) and not yet there."""

    __tablename__ = "supply"
    __table_args__ = (
        _not_negative("supply", ("quantity",)),
        Index(
            "ix_supply_open",
            "sku",
            "due",
            sqlite_where=text("quantity > 0"),
            postgresql_where=text("quantity > 0"),
        ),
    )
    supply_id: str = Field(primary_key=True)
    sku: str = Field(primary_key=True)
    node_id: str = Field(primary_key=True)
    quantity: int
    due: datetime = Field(sa_type=UtcDateTime)
    supply_type: str = Field(
        default="purchase_order", sa_column_kwargs={"server_default": "purchase_order"}
    )
    condition: str = Field(default="usable", sa_column_kwargs={"server_default": "usable"})
    as_of: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the buyer's or node's system said so; what it said earlier is ignored."""


class CoolOffRow(SQLModel, table=True):
    """A node not to be asked for a while, for one SKU or (empty SKU) for all."""

    __tablename__ = "cool_offs"
    node_id: str = Field(primary_key=True)
    sku: str = Field(primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime)
    reason: str
