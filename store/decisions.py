"""Routing decisions with all they looked at, compressed, for explaining and replaying."""

import json
import zlib
from datetime import datetime

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.routing.decision import Decision, DecisionRequest, Snapshot
from domain.routing.policy import RoutingPolicy
from domain.values import Model, UtcTime
from store.columns import changed, query, statement
from store.network import known_network

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
_SAVE_NETWORK = statement(
    "INSERT INTO network_versions (version, record) VALUES (:version, :record)"
    " ON CONFLICT DO NOTHING",
    "network_versions",
)
_HAS_NETWORK = query(
    "SELECT version FROM network_versions WHERE version = :version", "network_versions"
)
_LOAD_NETWORK = query(
    "SELECT record FROM network_versions WHERE version = :version", "network_versions"
)
_NETWORK = {"nodes", "services"}
_LEVEL = 4
"""A tenth larger than the best compression, in a third of its time."""


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
) -> bool:
    """Keep a decision; False when one of that id was kept before, which then stays."""
    left_out = _NETWORK if _network_is_kept(session, snapshot) else set()
    parts = {
        "request": request.model_dump_json(exclude_defaults=True),
        "snapshot": snapshot.model_dump_json(exclude_defaults=True, exclude=left_out),
        "policy": policy.model_dump_json(),
        "decision": decision.model_dump_json(),
    }
    document = ",".join(f'"{name}":{part}' for name, part in parts.items())
    row = {
        "decision_id": decision_id,
        "order_id": order_id,
        "saved_at": now,
        "record": _packed(f"{{{document}}}"),
    }
    return changed(session, _SAVE, row) == 1


def _network_is_kept(session: Session, snapshot: Snapshot) -> bool:
    """Keep the snapshot's network once for its version; False when it is not the whole network.

    Hundreds of nodes are the same in every decision until the network changes.
    """
    version = snapshot.network_version
    known = known_network(session)
    if known.version != version or known.nodes != snapshot.nodes:
        return False
    if session.execute(_HAS_NETWORK, {"version": version}).one_or_none() is None:
        network = snapshot.model_dump_json(include=_NETWORK)
        session.execute(_SAVE_NETWORK, {"version": version, "record": _packed(network)})
    return True


def _packed(document: str) -> bytes:
    return zlib.compress(document.encode(), level=_LEVEL)


def load_decision(session: Session, decision_id: str) -> DecisionRecord:
    """A decision and all it looked at. Raises UnknownReferenceError."""
    row = session.execute(_LOAD, {"decision_id": decision_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no decision '{decision_id}'")
    parts = json.loads(zlib.decompress(row.record))
    snapshot = parts["snapshot"]
    if "nodes" not in snapshot:
        version = {"version": snapshot["network_version"]}
        network = session.execute(_LOAD_NETWORK, version).scalar_one()
        snapshot |= json.loads(zlib.decompress(network))
    return DecisionRecord(
        decision_id=row.decision_id, order_id=row.order_id, saved_at=row.saved_at, **parts
    )
