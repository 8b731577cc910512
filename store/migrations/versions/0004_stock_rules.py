"""Stock rules and what they need: protections, exclusions, groups, velocities, discrepancies."""

import sqlalchemy as sa
from alembic import op

from store.migrations.triggers import follow, unfollow

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; dated supply gets its type, condition and the time it was told."""
    _tables_of_positions()
    _tables_with_numbers()
    op.create_table(
        "distribution_groups",
        sa.Column("group_id", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("group_id"),
    )
    for name, default in (("supply_type", "purchase_order"), ("condition", "usable")):
        column = sa.Column(name, sa.String(), server_default=default, nullable=False)
        op.add_column("supply", column)
    time = sa.DateTime(timezone=True)
    op.add_column("supply", sa.Column("as_of", time, nullable=True))
    op.add_column("ledger", sa.Column("occurred_at", time, nullable=True))
    follow("exclusions", sku="sku", node_id="node_id")
    follow("protections", sku="sku", node_id="node_id", value="{row}.quantity")


def _tables_of_positions() -> None:
    op.create_table(
        "protections",
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity >= 0 AND level >= 0", name="ck_protections_not_negative"),
        sa.PrimaryKeyConstraint("sku", "node_id", "channel"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_protections_to_refill",
        "protections",
        ["sku", "node_id"],
        unique=False,
        sqlite_where=sa.text("quantity < level"),
        postgresql_where=sa.text("quantity < level"),
    )
    op.create_table(
        "exclusions",
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sku", "node_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "velocities",
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("units >= 0", name="ck_velocities_not_negative"),
        sa.PrimaryKeyConstraint("sku", "node_id"),
        sqlite_with_rowid=False,
    )


def _tables_with_numbers() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "stock_rules",
        sa.Column("id", number, nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "discrepancies",
        sa.Column("id", number, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("condition", sa.String(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_discrepancies_position", "discrepancies", ["sku", "node_id"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    unfollow("protections")
    unfollow("exclusions")
    op.drop_column("ledger", "occurred_at")
    for name in ("as_of", "condition", "supply_type"):
        op.drop_column("supply", name)
    for table in (
        "distribution_groups",
        "discrepancies",
        "stock_rules",
        "velocities",
        "exclusions",
        "protections",
    ):
        op.drop_table(table)
