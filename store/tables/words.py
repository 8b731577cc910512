"""What people and other systems said about an order, in their own words."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from store.tables.types import UtcDateTime


class WordsRow(SQLModel, table=True):
    """Free text, which may be personal: kept here and nowhere in Temporal."""

    __tablename__ = "words"
    order_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    about: str
    said_by: str
    text: str
    in_story: bool
    at: datetime = Field(sa_type=UtcDateTime)
