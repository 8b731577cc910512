"""What became of the orders that are handled under a policy version."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.guardrails import PolicyCounts
from domain.policy_rollout import Scope
from store.columns import statement
from store.policies import Kind

NEWEST_ORDERS = 20_000
"""A report is made of so many at most, the newest, so its cost has a bound."""

_SCOPE = ("brand", "region", "order_type", "channel")
# What a moved plan held, another holds now. A shipment given back or cancelled is none any more,
# though its lines stay asked for and rejected.
_COUNTS = (
    "SELECT (SELECT count(*) FROM mine) AS orders,"
    " (SELECT count(DISTINCT p.order_id) FROM plans p JOIN mine m ON m.order_id = p.order_id"
    " WHERE p.moved_to IS NULL AND p.state IN ('reserved', 'released')) AS routed_orders,"
    " (SELECT sum(CAST(p.document ->> 'cost_micros' AS bigint)) FROM plans p"
    " JOIN mine m ON m.order_id = p.order_id"
    " WHERE p.moved_to IS NULL AND p.state IN ('reserved', 'released')) AS cost_micros,"
    " (SELECT count(*) FROM sent) AS released_orders,"
    " (SELECT count(*) FROM sent WHERE shipments > 1) AS split_orders,"
    " (SELECT count(*) FROM asked) AS assigned_lines,"
    " (SELECT count(*) FROM asked WHERE returned_to_order > 0) AS rejected_lines,"
    " (SELECT count(*) FROM due) AS due_orders,"
    " (SELECT count(*) FROM due WHERE waiting > 0 AND promise_at < :promise_at_now"
    " OR arrived_at > promise_at) AS missed_orders"
)
_PARTS = (
    "sent AS (SELECT f.order_id, count(*) AS shipments FROM fulfillments f"
    " JOIN mine m ON m.order_id = f.order_id WHERE f.status NOT IN ('rejected', 'cancelled')"
    " GROUP BY f.order_id)",
    "asked AS (SELECT l.returned_to_order FROM fulfillment_lines l"
    " JOIN fulfillments f ON f.fulfillment_id = l.fulfillment_id"
    " JOIN mine m ON m.order_id = f.order_id)",
    "arrivals AS (SELECT m.order_id, m.promise_at, (SELECT sum(l.ordered - l.cancelled"
    " - l.delivered) FROM order_lines l WHERE l.order_id = m.order_id) AS waiting,"
    " (SELECT sum(l.delivered) FROM order_lines l WHERE l.order_id = m.order_id) AS delivered,"
    " (SELECT max(f.updated_at) FROM fulfillments f WHERE f.order_id = m.order_id"
    " AND f.status IN ('delivered', 'collected')) AS arrived_at"
    " FROM mine m WHERE m.promise_at IS NOT NULL)",
    "due AS (SELECT promise_at, waiting, arrived_at FROM arrivals WHERE"
    " waiting > 0 AND promise_at < :promise_at_now OR waiting = 0 AND delivered > 0)",
)


def counts(
    session: Session,
    kind: Kind,
    version: str,
    now: datetime,
    *,
    since: datetime | None = None,
    scope: Scope = Scope(),  # noqa: B008 (immutable)
    most: int = NEWEST_ORDERS,
) -> PolicyCounts:
    """Counts of the newest orders pinned to a version now, received since then, in the scope.

    An order arrived when its last shipment was reported delivered or collected.
    """
    where = {name: value for name in _SCOPE if (value := getattr(scope, name)) is not None}
    asked: dict[str, Any] = {**where, f"{kind}_policy": version}
    conditions = [f"{name} = :{name}" for name in asked]
    if since is not None:
        asked["received_at"] = since
        conditions.append("received_at >= :received_at")
    mine = (
        f"mine AS (SELECT order_id, promise_at FROM orders WHERE {' AND '.join(conditions)}"  # noqa: S608 (own names)
        f" ORDER BY received_at DESC, order_id LIMIT :most)"
    )
    sql = statement(f"WITH {', '.join((mine, *_PARTS))} {_COUNTS}", "orders")
    row = session.execute(sql, {**asked, "promise_at_now": now, "most": most}).mappings().one()
    return PolicyCounts(**{name: row[name] or 0 for name in PolicyCounts.model_fields})
