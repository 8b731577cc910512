"""The line that an order's line belongs to, such as a kit's."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("order_lines", sa.Column("parent_line_id", sa.String(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("order_lines", "parent_line_id")
