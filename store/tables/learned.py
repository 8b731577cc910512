"""What was learned from history."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field, SQLModel

from store.tables.types import UtcDateTime


class LearnedDatesRow(SQLModel, table=True):
    """Delivery dates as learned at one time, never changed."""

    __tablename__ = "learned_dates"
    learned_at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    shipments: int
    document: dict[str, Any] = Field(sa_type=JSON)
