"""How the stock of a SKU is shown: by node, over the network, by date, and down to its parts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.inventory import Position
from domain.supply import Arrival, NodeAtp
from starter.times import utc_text
from store.promisable import SkuPromise

_MINUS = ("held", "reserved", "released", "claimed", "safety_stock", "protected")


@dataclass(frozen=True)
class Asked:
    """What the caller wants to see."""

    now: datetime
    channel: str = ""
    group: str = ""
    nodes: frozenset[str] | None = None
    """The nodes of the group; None: all."""
    by: datetime | None = None
    explain: bool = False

    def wants(self, node_id: str) -> bool:
        """Whether that node is asked about."""
        return self.nodes is None or node_id in self.nodes


def shown(found: SkuPromise, asked: Asked) -> dict[str, Any]:
    """The JSON answer. `available` null: without limit."""
    places = {place.node_id: place for place in found.positions}
    rows = [
        _row(found, node_id, places.get(node_id), asked)
        for node_id in found.node_ids
        if asked.wants(node_id)
    ]
    answer: dict[str, Any] = {
        "sku": found.product.sku,
        "total": {**_total(rows), "available": found.by(asked.now, asked.nodes)},
        "nodes": rows,
        "dates": [
            {"at": utc_text(at), "available": found.by(at, asked.nodes)} for at in found.dates()
        ],
    }
    if asked.channel:
        answer["channel"] = asked.channel
    if asked.group:
        answer["group"] = asked.group
    if asked.by is not None:
        answer["by"] = {
            "at": utc_text(asked.by),
            "available": found.by(asked.by, asked.nodes),
        }
    if asked.explain:
        answer["explanation"] = explanation(found, asked)
    return answer


def explanation(found: SkuPromise, asked: Asked) -> dict[str, Any]:
    """Every part of each node's figure, who waits, what comes, and a kit's components."""
    places = {place.node_id: place for place in found.positions}
    nodes = [
        _explained(found, node, places.get(node.node_id), asked)
        for node in found.atp.nodes
        if asked.wants(node.node_id)
    ]
    unlimited = found.atp.unlimited_from
    return {
        "nodes": nodes,
        "waiting": [row.model_dump(mode="json") for row in found.waiting],
        "unlimited_from": None if unlimited is None else utc_text(unlimited),
        "rules_version": found.rules_version,
        "components": [
            {
                "sku": part.product.sku,
                "quantity": component.quantity,
                **explanation(part, asked),
            }
            for component, part in zip(found.product.components, found.parts, strict=True)
        ],
    }


def _row(found: SkuPromise, node_id: str, place: Position | None, asked: Asked) -> dict[str, Any]:
    kept = place or Position(node_id=node_id, sku=found.product.sku)
    row = {**kept.model_dump(mode="json"), "available": found.at_node(node_id, asked.now)}
    reasons = [node.reason for node in found.atp.nodes if node.node_id == node_id and node.reason]
    if reasons:
        row["not_promised"] = reasons[0]
    elif not found.parts and row["available"] == 0 and kept.sellable < 0:
        row["available"] = kept.sellable
    return row


def _total(rows: list[dict[str, Any]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int):
                total[name] = total.get(name, 0) + value
    return total


def _explained(
    found: SkuPromise, node: NodeAtp, place: Position | None, asked: Asked
) -> dict[str, Any]:
    kept = place or Position(node_id=node.node_id, sku=found.product.sku)
    parts = [{"part": "usable", "units": kept.usable}]
    parts += [{"part": name, "units": -units} for name in _MINUS if (units := getattr(kept, name))]
    if node.own:
        parts.append({"part": f"kept for {found.atp.channel}", "units": node.own})
    return {
        "node_id": node.node_id,
        "parts": parts,
        "sum": node.now,
        "promised_from": None if node.from_time is None else utc_text(node.from_time),
        "reason": node.reason,
        "protections": {
            channel: {"kept": units, "level": level}
            for channel, (units, level) in found.protections.get(node.node_id, {}).items()
        },
        "not_usable": {
            name: units
            for name in ("damaged", "quarantine", "suspect")
            if (units := getattr(kept, name))
        },
        "supply": [_arrival(arrival) for arrival in node.arrivals],
        "by_date": [
            {"at": utc_text(at), "available": found.at_node(node.node_id, at)}
            for at in (*found.dates(), *(() if asked.by is None else (asked.by,)))
        ],
    }


def _arrival(arrival: Arrival) -> dict[str, Any]:
    at = arrival.promisable_at
    return {
        **arrival.supply.model_dump(mode="json", exclude={"node_id", "sku"}),
        "promised_from": None if at is None else utc_text(at),
        "reason": arrival.reason,
        "to_debt": arrival.to_debt,
        "to_backorders": arrival.to_backorders,
        "to_channels": arrival.to_channels,
        "open": arrival.open,
    }
