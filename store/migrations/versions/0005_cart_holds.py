"""A cart's hold gets a head (channel, order, expiry, end) and lines; open holds are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables and move what is held."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "cart_holds",
        sa.Column("hold_id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=True),
        sa.Column("expires_at", time, nullable=True),
        sa.Column("ended", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("hold_id"),
    )
    op.create_index(
        "ix_cart_holds_expires_at",
        "cart_holds",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    op.create_index(op.f("ix_cart_holds_order_id"), "cart_holds", ["order_id"], unique=False)
    op.create_table(
        "hold_lines",
        sa.Column("hold_id", sa.String(), nullable=False),
        sa.Column("line_id", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.CheckConstraint("wanted >= 0 AND quantity >= 0", name="ck_hold_lines_not_negative"),
        sa.PrimaryKeyConstraint("hold_id", "line_id", "node_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_hold_lines_position", "hold_lines", ["sku", "node_id"], unique=False)
    op.execute(
        "INSERT INTO cart_holds (hold_id, channel, expires_at)"
        " SELECT hold_id, '', min(expires_at) FROM holds GROUP BY hold_id"
    )
    op.execute(
        "INSERT INTO hold_lines (hold_id, line_id, node_id, sku, wanted, quantity, counted)"
        " SELECT hold_id, sku, node_id, sku, quantity, quantity, 1 = 1 FROM holds"
    )
    op.drop_index(op.f("ix_holds_expires_at"), table_name="holds")
    op.drop_table("holds")


def downgrade() -> None:
    """Make one table of them again; a hold that is bound to an order expires at once."""
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("sku", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("quantity >= 0", name="ck_holds_not_negative"),
        sa.PrimaryKeyConstraint("hold_id", "node_id", "sku"),
    )
    op.create_index(op.f("ix_holds_expires_at"), "holds", ["expires_at"], unique=False)
    op.execute(
        "INSERT INTO holds (hold_id, node_id, sku, quantity, expires_at)"
        " SELECT h.hold_id, l.node_id, l.sku, sum(l.quantity),"
        " COALESCE(h.expires_at, CURRENT_TIMESTAMP)"
        " FROM cart_holds h JOIN hold_lines l ON l.hold_id = h.hold_id WHERE l.counted"
        " GROUP BY h.hold_id, l.node_id, l.sku, h.expires_at"
    )
    op.drop_table("hold_lines")
    op.drop_table("cart_holds")
