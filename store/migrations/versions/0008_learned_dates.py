"""Delivery dates learned from delivered shipments."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "learned_dates",
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shipments", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("learned_at"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("learned_dates")
