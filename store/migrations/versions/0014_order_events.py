"""Order events: who listens, what was said, and what reached whom."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_WAITING = sa.text("state = 'waiting'")
_DEAD = sa.text("state = 'dead'")
_Time = sa.DateTime(timezone=True)
_RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "subscriptions",
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("event_types", sa.JSON(), nullable=False),
        sa.Column("brand", sa.String(), nullable=True),
        sa.Column("channel", sa.String(), nullable=True),
        sa.Column("secrets", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", _Time, nullable=True),
        sa.Column("claimed_until", _Time, nullable=True),
        sa.Column("claimed_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("subscription_id"),
    )
    op.create_table(
        "order_events",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("event_type", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("occurred_at", _Time, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(op.f("ix_order_events_order_id"), "order_events", ["order_id"], unique=False)
    _make_deliveries()


def _make_deliveries() -> None:
    table = "event_deliveries"
    op.create_table(
        table,
        sa.Column("id", _RowNumber, nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", _Time, nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("done_at", _Time, nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["order_events.event_id"]),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.subscription_id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("subscription_id", "event_id", name="uq_event_deliveries_event"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_event_deliveries_event_id"), table, ["event_id"], unique=False)
    for name, columns, only in (
        ("due", ["subscription_id", "next_at"], _WAITING),
        ("order", ["subscription_id", "order_id", "id"], _WAITING),
        ("dead", ["id"], _DEAD),
    ):
        op.create_index(
            f"ix_event_deliveries_{name}",
            table,
            columns,
            unique=False,
            sqlite_where=only,
            postgresql_where=only,
        )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("event_deliveries")
    op.drop_table("order_events")
    op.drop_table("subscriptions")
