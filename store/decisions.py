"""Routing decisions with all they looked at, compressed, for explaining and replaying."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.network import Node
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
_IS_KNOWN = query("SELECT decision_id FROM decisions WHERE decision_id = :decision_id", "decisions")
_KNOWN = query(
    "SELECT decision_id FROM decisions WHERE decision_id IN :decision_ids",
    "decisions",
    lists=["decision_ids"],
)
# An alternative's decision is named after its promise: "promise-a-2" belongs to "promise-a".
_PROMISE_OF = "rtrim(rtrim({}, '0123456789'), '-')"
_UNUSED = query(
    "WITH named AS (SELECT promised_in AS promise_id FROM promise_drift"  # noqa: S608 (own words)
    " UNION SELECT v.document->>'promise_id' FROM order_versions v"
    " JOIN orders o ON o.order_id = v.order_id"
    " WHERE NOT o.closed AND v.document->>'promise_id' IS NOT NULL),"
    " taken AS (SELECT promise_id FROM named"
    f" UNION SELECT {_PROMISE_OF.format('promise_id')} FROM named)"
    " SELECT decision_id FROM decisions WHERE order_id IS NULL AND saved_at < :saved_at"
    " AND decision_id NOT IN (SELECT promise_id FROM taken)"
    f" AND {_PROMISE_OF.format('decision_id')} NOT IN (SELECT promise_id FROM taken)"
    " ORDER BY saved_at LIMIT :row_limit",
    "decisions",
)
_FORGET = statement(
    "DELETE FROM decisions WHERE decision_id IN :decision_ids", "decisions", lists=["decision_ids"]
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
    is_whole = _is_whole_network(session, snapshot)
    if is_whole:
        keep_network(session, snapshot)
    row = packed(
        decision_id,
        order_id,
        request,
        snapshot,
        policy,
        decision,
        now,
        with_network=not is_whole,
    )
    return save_packed(session, [row]) == 1


def packed(
    decision_id: str,
    order_id: str | None,
    request: DecisionRequest,
    snapshot: Snapshot,
    policy: RoutingPolicy,
    decision: Decision,
    now: datetime,
    *,
    with_network: bool = False,
) -> dict[str, Any]:
    """A decision's row, which may be saved later; without its network that must be kept first."""
    left_out = set() if with_network else _NETWORK
    parts = {
        "request": request.model_dump_json(exclude_defaults=True),
        "snapshot": snapshot.model_dump_json(exclude_defaults=True, exclude=left_out),
        "policy": policy.model_dump_json(),
        "decision": decision.model_dump_json(),
    }
    document = ",".join(f'"{name}":{part}' for name, part in parts.items())
    return {
        "decision_id": decision_id,
        "order_id": order_id,
        "saved_at": now,
        "record": _packed(f"{{{document}}}"),
    }


def save_packed(session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
    """Save such rows; how many were new."""
    return changed(session, _SAVE, rows) if rows else 0


def keep_network(session: Session, snapshot: Snapshot) -> None:
    """Keep the snapshot's network, which must be the whole one, once for its version.

    Hundreds of nodes are the same in every decision until the network changes.
    """
    version = snapshot.network_version
    if session.execute(_HAS_NETWORK, {"version": version}).one_or_none() is None:
        network = snapshot.model_dump_json(include=_NETWORK)
        session.execute(_SAVE_NETWORK, {"version": version, "record": _packed(network)})


def _is_whole_network(session: Session, snapshot: Snapshot) -> bool:
    known = known_network(session)
    if known.version != snapshot.network_version:
        return False
    # Databases sort ids by their own rules.
    return known.nodes == snapshot.nodes or _by_id(known.nodes) == _by_id(snapshot.nodes)


def _by_id(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: node.node_id)


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


def load_choice(session: Session, decision_id: str) -> tuple[DecisionRequest, Decision]:
    """What was asked and decided, without what was looked at, which is most of the record.

    Raises UnknownReferenceError.
    """
    parts = _parts(session, decision_id)
    return (
        DecisionRequest.model_validate(parts["request"]),
        Decision.model_validate(parts["decision"]),
    )


def load_request(session: Session, decision_id: str) -> DecisionRequest:
    """What was asked. Raises UnknownReferenceError."""
    return DecisionRequest.model_validate(_parts(session, decision_id)["request"])


def load_policy(session: Session, decision_id: str) -> RoutingPolicy:
    """The policy of a decision. Raises UnknownReferenceError."""
    return RoutingPolicy.model_validate(_parts(session, decision_id)["policy"])


def is_known(session: Session, decision_id: str) -> bool:
    """Whether there is a record of the decision."""
    return session.execute(_IS_KNOWN, {"decision_id": decision_id}).first() is not None


def known(session: Session, decision_ids: Sequence[str]) -> set[str]:
    """Those of which there is a record."""
    return set(session.execute(_KNOWN, {"decision_ids": list(decision_ids)}).scalars())


def unused(session: Session, before: datetime, *, limit: int = 10_000) -> list[str]:
    """Decisions of promises made before then, oldest first, that may be forgotten.

    Those stay of which a decision was compared with a plan, or that an open order names.
    """
    rows = session.execute(_UNUSED, {"saved_at": before, "row_limit": limit})
    return list(rows.scalars())


def forget(session: Session, decision_ids: Sequence[str]) -> int:
    """Delete these decisions; how many."""
    return changed(session, _FORGET, {"decision_ids": list(decision_ids)})


def _parts(session: Session, decision_id: str) -> dict[str, Any]:
    row = session.execute(_LOAD, {"decision_id": decision_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no decision '{decision_id}'")
    parts: dict[str, Any] = json.loads(zlib.decompress(row.record))
    return parts
