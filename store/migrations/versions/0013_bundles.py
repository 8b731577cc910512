"""Which lines that wait for supply must come in one shipment."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("backorders", sa.Column("bundle", sa.String(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("backorders", "bundle")
