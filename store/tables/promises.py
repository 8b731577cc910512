"""What became of promises: how far each order's plan is from what was promised."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from store.tables.types import BigId, UtcDateTime


class PromiseDriftRow(SQLModel, table=True):
    """An order's newest plan compared with its promise; figures above 0 are for the worse."""

    __tablename__ = "promise_drift"
    order_id: str = Field(primary_key=True)
    promised_in: str
    """The decision that promised: the checkout's, else the order's own."""
    routed_in: str
    plan_version: int
    units_moved: int
    ship_days: int
    delivery_days: int
    cost_micros: int = Field(sa_type=BigId)
    first_units_moved: int
    first_ship_days: int
    first_delivery_days: int
    first_cost_micros: int = Field(sa_type=BigId)
    """The same of the order's first plan: what changed between promise and route."""
    compared_at: datetime = Field(sa_type=UtcDateTime)
