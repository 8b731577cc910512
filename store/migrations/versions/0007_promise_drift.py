"""Drift between promise and plan; promises nobody took; empty positions that carry a product."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_EVENTS = {"insert": "NEW", "delete": "OLD"}
_NO_ORDER = sa.text("order_id IS NULL")


def upgrade() -> None:
    """Make table and index; a position that comes or goes is news even when it is empty."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "promise_drift",
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("promised_in", sa.String(), nullable=False),
        sa.Column("routed_in", sa.String(), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("units_moved", sa.Integer(), nullable=False),
        sa.Column("ship_days", sa.Integer(), nullable=False),
        sa.Column("delivery_days", sa.Integer(), nullable=False),
        sa.Column("cost_micros", number, nullable=False),
        sa.Column("first_units_moved", sa.Integer(), nullable=False),
        sa.Column("first_ship_days", sa.Integer(), nullable=False),
        sa.Column("first_delivery_days", sa.Integer(), nullable=False),
        sa.Column("first_cost_micros", number, nullable=False),
        sa.Column("compared_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_index(
        "ix_decisions_of_no_order",
        "decisions",
        ["saved_at"],
        unique=False,
        sqlite_where=_NO_ORDER,
        postgresql_where=_NO_ORDER,
    )
    # A node may carry a product that needs no stock: its position is empty from the start.
    for event in _EVENTS:
        _drop_trigger(event)
        _make_trigger(event, "")


def downgrade() -> None:
    """Undo it."""
    columns = ("usable", "held", "reserved", "released", "claimed", "safety_stock", "protected")
    for event, row in _EVENTS.items():
        _drop_trigger(event)
        ats = " - ".join(f"{row}.{column}" for column in columns)
        _make_trigger(event, f" WHEN (({ats}) <> 0)")
    op.drop_index(
        "ix_decisions_of_no_order",
        table_name="decisions",
        sqlite_where=_NO_ORDER,
        postgresql_where=_NO_ORDER,
    )
    op.drop_table("promise_drift")


def _drop_trigger(event: str) -> None:
    on = " ON positions" if op.get_bind().dialect.name == "postgresql" else ""
    op.execute(f"DROP TRIGGER changes_positions_{event}{on}")


def _make_trigger(event: str, when: str) -> None:
    begin = (
        f"CREATE TRIGGER changes_positions_{event} AFTER {event.upper()} ON positions"
        f" FOR EACH ROW{when}"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"{begin} EXECUTE FUNCTION note_positions()")
    else:
        row = _EVENTS[event]
        op.execute(
            f"{begin} BEGIN INSERT INTO changes (xid, topic, sku, node_id)"  # noqa: S608 (own names)
            f" VALUES (0, 'positions', {row}.sku, {row}.node_id); END"
        )
