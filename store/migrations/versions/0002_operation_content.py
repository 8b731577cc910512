"""What a stock-changing call said, as a hash: its key stands for one content."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; older rows keep null, which fits any content."""
    op.add_column("operations", sa.Column("content", sa.String(), nullable=True))


def downgrade() -> None:
    """Drop it again."""
    op.drop_column("operations", "content")
