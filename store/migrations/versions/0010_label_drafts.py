"""Labels: what is about to be bought, and those that came as pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "label_drafts",
        sa.Column("fulfillment_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("shipment_id", sa.String(), nullable=True),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["fulfillment_id"], ["fulfillments.fulfillment_id"]),
        sa.PrimaryKeyConstraint("fulfillment_id", "key"),
    )
    op.create_table(
        "label_images",
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("fulfillment_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["fulfillment_id"], ["fulfillments.fulfillment_id"]),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index(
        op.f("ix_label_images_fulfillment_id"), "label_images", ["fulfillment_id"], unique=False
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("label_images")
    op.drop_table("label_drafts")
