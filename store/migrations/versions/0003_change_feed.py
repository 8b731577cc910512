"""A feed of every change that promises look at, written by triggers."""

import sqlalchemy as sa
from alembic import op

from store.migrations.triggers import follow, unfollow

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ATS = " - ".join(
    f"{{row}}.{column}"
    for column in (
        "usable",
        "held",
        "reserved",
        "released",
        "claimed",
        "safety_stock",
        "protected",
    )
)


def upgrade() -> None:
    """Make the feed and what fills it."""
    op.create_table(
        "changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("xid", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_changes_xid", "changes", ["xid"], unique=False, sqlite_where=sa.text("xid > 0")
    )
    follow("positions", sku="sku", node_id="node_id", value=f"({_ATS})")
    follow("supply", sku="sku", node_id="node_id")
    follow("capacity", node_id="node_id")
    follow("cool_offs", sku="sku", node_id="node_id")
    follow("products", sku="sku")
    follow("network_state")
    follow("policy_activations")


def downgrade() -> None:
    """Drop them."""
    for table in (
        "policy_activations",
        "network_state",
        "products",
        "cool_offs",
        "capacity",
        "supply",
        "positions",
    ):
        unfollow(table)
    op.drop_index("ix_changes_xid", table_name="changes", sqlite_where=sa.text("xid > 0"))
    op.drop_table("changes")
