"""The change feed: which rows that promises look at were changed."""

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from store.tables.types import BigId


class ChangeRow(SQLModel, table=True):
    """One changed row of `topic` (a table's name). Triggers write it, in the change's transaction.

    `xid` is PostgreSQL's transaction id, which tells commits apart that finish out of order; 0 on
    SQLite, whose only writer numbers rows in the order of commits. Old rows are pruned.
    """

    __tablename__ = "changes"
    __table_args__ = (
        Index("ix_changes_xid", "xid", sqlite_where=text("xid > 0")),
        {"sqlite_autoincrement": True},
    )
    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    xid: int = Field(default=0, sa_type=BigId)
    topic: str
    sku: str = ""
    node_id: str = ""
