"""What brokering runs did: planned unreleased orders again, together."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel

from store.tables.types import UtcDateTime


class BrokeringRunRow(SQLModel, table=True):
    """One run; `finished_at` is null while it is under way."""

    __tablename__ = "brokering_runs"
    __table_args__ = (Index("ix_brokering_runs_newest", "started_at", "run_id"),)
    run_id: str = Field(primary_key=True)
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    looked_at: int = 0


class BrokeringMoveRow(SQLModel, table=True):
    """An order that a run moved to another plan, and why; costs in micros of the base currency."""

    __tablename__ = "brokering_moves"
    run_id: str = Field(primary_key=True)
    order_id: str = Field(primary_key=True, index=True)
    from_version: int
    to_version: int
    decision_id: str
    before_micros: int = Field(sa_type=BigInteger)
    after_micros: int = Field(sa_type=BigInteger)
    why: str
    moved_at: datetime = Field(sa_type=UtcDateTime)
