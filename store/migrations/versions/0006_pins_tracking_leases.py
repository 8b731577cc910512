"""Orders know their policy pins and tracking token; who claimed a message, and who lives."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ORDERS_AT_ONCE = 1_000


def upgrade() -> None:
    """Add them. Orders there are get a token; their pins stay with their workflows."""
    for name in ("routing_policy", "process_policy", "tracking_token"):
        op.add_column("orders", sa.Column(name, sa.String(), nullable=True))
    _give_tokens()
    op.create_index("ix_orders_tracking", "orders", ["tracking_token"], unique=True)
    op.add_column("messages", sa.Column("claimed_by", sa.String(), nullable=True))
    op.create_table(
        "dispatchers",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )


def _give_tokens() -> None:
    connection = op.get_bind()
    ids = connection.execute(sa.text("SELECT order_id FROM orders")).scalars().all()
    for start in range(0, len(ids), _ORDERS_AT_ONCE):
        connection.execute(
            sa.text("UPDATE orders SET tracking_token = :token WHERE order_id = :order_id"),
            [
                {"order_id": order_id, "token": secrets.token_hex(16)}
                for order_id in ids[start : start + _ORDERS_AT_ONCE]
            ],
        )


def downgrade() -> None:
    """Drop them again."""
    op.drop_table("dispatchers")
    op.drop_column("messages", "claimed_by")
    op.drop_index("ix_orders_tracking", table_name="orders")
    for name in ("tracking_token", "process_policy", "routing_policy"):
        op.drop_column("orders", name)
