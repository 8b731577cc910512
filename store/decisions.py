"""Routing decisions with all they looked at, compressed, for explaining and replaying."""

import json
import zlib
from datetime import datetime

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.routing.decision import Decision, DecisionRequest, Snapshot
from domain.routing.policy import RoutingPolicy
from domain.values import Model, UtcTime
from store.columns import query, statement

_SAVE = statement(
    "INSERT INTO decisions (decision_id, order_id, saved_at, record)"
    " VALUES (:decision_id, :order_id, :saved_at, :record) ON CONFLICT DO NOTHING",
    "decisions",
)
_LOAD = query(
    "SELECT decision_id, order_id, saved_at, record FROM decisions"
    " WHERE decision_id = :decision_id",
    "decisions",
)


class DecisionRecord(Model):
    """A decision with its request, snapshot and policy."""

    decision_id: str
    order_id: str | None
    saved_at: UtcTime
    request: DecisionRequest
    snapshot: Snapshot
    policy: RoutingPolicy
    decision: Decision


def save_decision(
    session: Session,
    decision_id: str,
    order_id: str | None,
    request: DecisionRequest,
    snapshot: Snapshot,
    policy: RoutingPolicy,
    decision: Decision,
    now: datetime,
) -> None:
    """Keep a decision; the same id a second time changes nothing."""
    parts = {
        "request": request.model_dump(mode="json", exclude_defaults=True),
        "snapshot": snapshot.model_dump(mode="json", exclude_defaults=True),
        "policy": policy.model_dump(mode="json"),
        "decision": decision.model_dump(mode="json"),
    }
    record = zlib.compress(json.dumps(parts, separators=(",", ":")).encode())
    session.execute(
        _SAVE,
        {"decision_id": decision_id, "order_id": order_id, "saved_at": now, "record": record},
    )


def load_decision(session: Session, decision_id: str) -> DecisionRecord:
    """A decision and all it looked at. Raises UnknownReferenceError."""
    row = session.execute(_LOAD, {"decision_id": decision_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no decision '{decision_id}'")
    parts = json.loads(zlib.decompress(row.record))
    return DecisionRecord(
        decision_id=row.decision_id, order_id=row.order_id, saved_at=row.saved_at, **parts
    )
