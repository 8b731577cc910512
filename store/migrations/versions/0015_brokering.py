"""Brokering runs and their moves; when an order is released, and what people say of its nodes."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, make the tables."""
    op.add_column("plans", sa.Column("moved_to", sa.Integer(), nullable=True))
    op.add_column("orders", sa.Column("release_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("orders", sa.Column("overrides", sa.JSON(), nullable=True))
    op.create_table(
        "brokering_runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("ix_brokering_runs_newest", "brokering_runs", ["started_at", "run_id"])
    op.create_table(
        "brokering_moves",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=False),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("before_micros", sa.BigInteger(), nullable=False),
        sa.Column("after_micros", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "order_id"),
    )
    op.create_index("ix_brokering_moves_order_id", "brokering_moves", ["order_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("brokering_moves")
    op.drop_table("brokering_runs")
    op.drop_column("orders", "overrides")
    op.drop_column("orders", "release_at")
    op.drop_column("plans", "moved_to")
