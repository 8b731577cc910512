"""Activations by share and time, with limits to keep, and what broke them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_Time = sa.DateTime(timezone=True)
_RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("share", sa.Integer(), nullable=False, server_default="100"),
        sa.Column("starts_at", _Time, nullable=True),
        sa.Column("ends_at", _Time, nullable=True),
        sa.Column("guardrails", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("minimum_orders", sa.Integer(), nullable=False, server_default="100"),
        sa.Column("rolls_back", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("ended_because", sa.String(), nullable=True),
    ]


def upgrade() -> None:
    """Add them; what is active stays so for everybody, without an end."""
    for column in _columns():
        op.add_column("policy_activations", column)
    op.create_table(
        "policy_alerts",
        sa.Column("id", _RowNumber, nullable=False),
        sa.Column("activation_id", _RowNumber, nullable=False),
        sa.Column("guardrail", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("raised_at", _Time, nullable=False),
        sa.ForeignKeyConstraint(["activation_id"], ["policy_activations.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("activation_id", "guardrail", name="uq_policy_alerts_guardrail"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop them again."""
    op.drop_table("policy_alerts")
    for column in reversed(_columns()):
        op.drop_column("policy_activations", column.name)
