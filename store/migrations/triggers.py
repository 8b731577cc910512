"""Triggers that write the change feed; revisions share them, so what they do must not change."""

from alembic import op


def follow(table: str, *, sku: str = "", node_id: str = "", value: str = "") -> None:
    """From now on each inserted, deleted or updated row of the table is a row of `changes`.

    `sku` and `node_id` name the key's columns; with `value`, an SQL expression over the columns
    where `{row}` stands for the row, only rows count where it is not zero or not what it was.
    """
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        _make_function(table, sku, node_id)
    new, old = value.replace("{row}", "NEW"), value.replace("{row}", "OLD")
    conditions = {
        "INSERT": f"{new} <> 0" if value else "",
        "UPDATE": f"{new} <> {old}" if value else "",
        "DELETE": f"{old} <> 0" if value else "",
    }
    for event, condition in conditions.items():
        when = f" WHEN ({condition})" if condition else ""
        name = f"changes_{table}_{event.lower()}"
        begin = f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW{when}"
        if postgresql:
            op.execute(f"{begin} EXECUTE FUNCTION note_{table}()")
        else:
            row = "OLD" if event == "DELETE" else "NEW"
            op.execute(f"{begin} BEGIN {_insert(table, '0', row, sku, node_id)}; END")


def unfollow(table: str) -> None:
    """Undo `follow`."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for event in ("insert", "update", "delete"):
        on = f" ON {table}" if postgresql else ""
        op.execute(f"DROP TRIGGER changes_{table}_{event}{on}")
    if postgresql:
        op.execute(f"DROP FUNCTION note_{table}()")


def _make_function(table: str, sku: str, node_id: str) -> None:
    xid = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
    op.execute(
        f"CREATE FUNCTION note_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'DELETE' THEN {_insert(table, xid, 'OLD', sku, node_id)};"
        f" ELSE {_insert(table, xid, 'NEW', sku, node_id)}; END IF;"
        " RETURN NULL; END $$"
    )


def _insert(table: str, xid: str, row: str, sku: str, node_id: str) -> str:
    key = ", ".join(f"{row}.{column}" if column else "''" for column in (sku, node_id))
    return f"INSERT INTO changes (xid, topic, sku, node_id) VALUES ({xid}, '{table}', {key})"  # noqa: S608 (own names)
