"""Who took a count; and what promises of supply on its way look at is in the change feed."""

import sqlalchemy as sa
from alembic import op

from store.migrations.triggers import follow, unfollow

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; follow the orders that wait, and the rules on what may be promised."""
    by_people: sa.Column[bool] = sa.Column(
        "by_people", sa.Boolean(), server_default=sa.false(), nullable=False
    )
    op.add_column("stock_counts", by_people)
    follow("backorders", sku="sku", value="{row}.quantity")
    follow("stock_rules")


def downgrade() -> None:
    """Undo it."""
    unfollow("stock_rules")
    unfollow("backorders")
    op.drop_column("stock_counts", "by_people")
