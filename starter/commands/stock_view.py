"""How stock, its explanation, rules and discrepancies are printed for people."""

from collections.abc import Iterator
from typing import Any

from starter.cli_common import moment, say, table

_SHOWN = ("available", "usable", "reserved", "released", "held", "claimed", "suspect", "damaged")


def print_stock(answer: dict[str, Any]) -> None:
    """Units by node, then what can be promised by date, then the explanation if asked for."""
    rows = [*answer["nodes"], {**answer["total"], "node_id": "all"}]
    table(
        ("node", *_SHOWN),
        ((row["node_id"], *(_units(row.get(name, 0)) for name in _SHOWN)) for row in rows),
    )
    for row in answer["nodes"]:
        if row.get("not_promised"):
            say(f"{row['node_id']}: not promised now, {row['not_promised']}")
    dates = answer.get("dates", ())
    if len(dates) > 1:
        say("")
        table(("from", "promised"), ((x["at"], _units(x["available"])) for x in dates))
    if "by" in answer:
        say(f"by {moment(answer['by']['at'])}: {_units(answer['by']['available'])}")
    if "explanation" in answer:
        say("")
        for line in explained(answer["explanation"]):
            say(line)


def explained(found: dict[str, Any], indent: str = "") -> Iterator[str]:
    """The explanation, a line for each node, supply, and order that waits."""
    for node in found["nodes"]:
        parts = " ".join(_part(part) for part in node["parts"])
        yield f"{indent}{node['node_id']}: {parts} = {node['sum']}{_since(node)}"
        for channel, kept in node["protections"].items():
            yield f"{indent}  kept for {channel}: {kept['kept']} of {kept['level']} wanted"
        for name, units in node["not_usable"].items():
            yield f"{indent}  {units} {name}, not for sale"
        for supply in node["supply"]:
            yield f"{indent}  {_supply(supply)}"
    for row in found["waiting"]:
        until = f", promised for {moment(row['promise_at'])}" if row["promise_at"] else ""
        yield f"{indent}{row['quantity']} waited for by {row['order_id']} line {row['line_id']}" + (
            f" (class {row['demand_class']}{until})"
        )
    if found["unlimited_from"]:
        yield f"{indent}without limit from {moment(found['unlimited_from'])} on"
    if found["rules_version"]:
        yield f"{indent}stock rules {found['rules_version']}"
    for part in found["components"]:
        yield f"{indent}{part['quantity']} x {part['sku']} in each:"
        yield from explained(part, f"{indent}  ")


def print_rules(answer: dict[str, Any]) -> None:
    """The document in force as YAML, and whether positions follow it."""
    import yaml

    say(f"rules {answer['version']}, in force since {moment(answer['activated_at'])}")
    if not answer["evaluated"]:
        say("positions are still being evaluated")
    say(yaml.safe_dump(answer["document"], sort_keys=False).rstrip())


def print_discrepancies(answer: dict[str, Any]) -> None:
    """What did not agree, and what is owed."""
    columns = ("noted_at", "kind", "node_id", "sku", "condition", "expected", "found")
    table(columns, ([row[name] for name in columns] for row in answer["discrepancies"]))
    for row in answer["oversold"]:
        orders = ", ".join(f"{x['quantity']} of {x['order_id']}" for x in row["orders"])
        say(
            f"{row['sku']} at {row['node_id']}: {row['promised']} promised, {row['usable']} there;"
            f" short: {orders or 'nobody yet'}"
        )
    if not answer["discrepancies"] and not answer["oversold"]:
        say("everything agrees")


def _units(value: Any) -> Any:
    return "no limit" if value is None else value


def _part(part: dict[str, Any]) -> str:
    units = part["units"]
    sign = "-" if units < 0 else "+"
    text = f"{abs(units)} {part['part'].replace('_', ' ')}"
    return text if part["part"] == "usable" else f"{sign} {text}"


def _since(node: dict[str, Any]) -> str:
    if node["promised_from"] is None:
        return f", not promised: {node['reason']}"
    return f", from {moment(node['promised_from'])}: {node['reason']}" if node["reason"] else ""


def _supply(row: dict[str, Any]) -> str:
    text = f"{row['quantity']} due {moment(row['due'])} ({row['supply_type']} {row['supply_id']})"
    if row["promised_from"] is None:
        return f"{text}: not promised, {row['reason']}"
    shares = [
        (row["to_debt"], "make up for what is owed"),
        (row["to_backorders"], "for orders that wait"),
        *((units, f"kept for {channel}") for channel, units in row["to_channels"].items()),
        (row["open"], "open"),
    ]
    return f"{text}: " + ", ".join(f"{units} {what}" for units, what in shares if units)
