"""How an order is printed for people: where it stands, then its lines, parcels and story."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from starter.cli_common import moment, say, table

FEW_LINES = 20
"""So many lines of an order or a fulfillment are printed unless all are asked for."""
_BUCKETS = (
    "open",
    "backordered",
    "reserved",
    "released",
    "picked",
    "shipped",
    "delivered",
    "cancelled",
    "returned",
)
_FACTS = (
    ("awaits", "awaits"),
    ("promised by", "promise_at"),
    ("entered by", "entered_by"),
    ("decision", "decision_id"),
)


def print_order(page: Mapping[str, Any], *, show_all: bool = False) -> None:
    """What matters first: stage, what is awaited and how many units are where."""
    say(f"{page['order_id']}: {page.get('displayed') or page['stage']} (stage {page['stage']})")
    for label, name in _FACTS:
        if page.get(name):
            say(f"{label}: {moment(page[name])}")
    for hold in page.get("holds") or ():
        say(f"hold {hold['type']} by {hold['owner']}: {hold.get('reason', '')}")
    for chosen in page.get("overrides") or ():
        why = f": {chosen['reason']}" if chosen.get("reason") else ""
        say(f"{chosen['choice']} {chosen['node_id']} by {chosen['actor']}{why}")
    _print_attention(page["order_id"], page.get("attention"))
    most = None if show_all else FEW_LINES
    _print_lines(page.get("lines") or (), most)
    _print_approvals(page.get("approvals") or {})
    for fulfillment in page.get("fulfillments") or ():
        _print_fulfillment(page["order_id"], fulfillment, most)
    story = page.get("timeline") or ()
    if story:
        say("")
        table(("at", "what happened"), ((entry["at"], entry["text"]) for entry in story))
    say("")
    for name, link in (page.get("links") or {}).items():
        say(f"{name}: {link}")


def _print_lines(lines: Sequence[Mapping[str, Any]], most: int | None) -> None:
    """Totals, then each line; of many lines the first that are least advanced."""
    units: Counter[str] = Counter()
    for line in lines:
        units.update({name: _quantities(line).get(name) or 0 for name in _BUCKETS})
    say("")
    ordered = sum(_quantities(line)["ordered"] for line in lines)
    say(f"{_counted(len(lines), 'line')}, {_counted(ordered, 'unit')}: {_where(units)}")
    shown = sorted(lines, key=_progress)[:most] if _are_many(lines, most) else lines
    table(
        ("line", "sku", "ordered", "where"),
        (
            (line["line_id"], line["sku"], _quantities(line)["ordered"], _where(_quantities(line)))
            for line in shown
        ),
    )
    _tell_rest(len(lines) - len(shown))


def _are_many(rows: Sequence[object], most: int | None) -> bool:
    return most is not None and len(rows) > most


def _progress(line: Mapping[str, Any]) -> int:
    """How far the least advanced units of the line are."""
    quantities = _quantities(line)
    return min((n for n, name in enumerate(_BUCKETS) if quantities.get(name)), default=0)


def _tell_rest(left: int) -> None:
    if left:
        say(f"... and {left:,} more: --all shows them")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _quantities(line: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = line.get("quantities") or line
    return found


def _where(quantities: Mapping[str, Any]) -> str:
    return ", ".join(f"{quantities[name]:,} {name}" for name in _BUCKETS if quantities.get(name))


def _print_approvals(found: Mapping[str, Any]) -> None:
    if found.get("levels"):
        say("")
    table(
        ("approval level", "role", "outcome", "asked", "expires"),
        (
            (x["level"], x["role"], x["outcome"] or "waits", x["asked_at"], x["expires_at"])
            for x in found.get("levels") or ()
        ),
    )
    if found.get("votes"):
        say("")
    table(
        ("vote at", "level", "by", "role", "vote", "counts", "comment"),
        (
            (
                vote["at"],
                vote["level"],
                vote["approver"],
                vote["role"],
                vote["verdict"],
                "yes" if vote["counted"] else f"no: {vote['why']}",
                vote["comment"],
            )
            for vote in found.get("votes") or ()
        ),
    )


def _print_fulfillment(order_id: str, fulfillment: Mapping[str, Any], most: int | None) -> None:
    node, status = fulfillment.get("node_id", ""), fulfillment.get("status", "")
    say("")
    say(f"fulfillment {fulfillment['fulfillment_id']} at {node}: {status}")
    _print_attention(order_id, fulfillment.get("attention"))
    back = [line for line in fulfillment.get("lines") or () if line.get("returned_to_order")]
    for line in back[:most]:
        say(f"  gave back {line['returned_to_order']} of line {line['line_id']}")
    _tell_rest(len(back) - len(back[:most]))
    packages = fulfillment.get("packages") or ()
    for package in packages[:most]:
        say(_package(package, most))
    _tell_rest(len(packages) - len(packages[:most]))


def _package(package: Mapping[str, Any], most: int | None) -> str:
    number = package.get("tracking_number") or "no label yet"
    carrier = package.get("carrier") or ""
    told = f"  package {package['package_id']}: {package['status']} {carrier} {number}".rstrip()
    lines = package.get("lines") or ()
    if not lines:
        return told
    if _are_many(lines, most):
        units = sum(one["quantity"] for one in lines)
        return f"{told} ({_counted(units, 'unit')} of {len(lines):,} lines)"
    held = ", ".join(f"{one['quantity']} of line {one['line_id']}" for one in lines)
    return f"{told} ({held})"


def _print_attention(order_id: str, attention: Mapping[str, Any] | None) -> None:
    if not attention:
        return
    say(f"needs a person at '{attention['step']}': {attention['reason']}")
    # Each is a whole command to copy: bars between the choices would be pipes to a shell.
    label = "answer:"
    for choice in attention["choices"]:
        say(f"  {label:>7} doms order resume {order_id} {attention['park_id']} {choice}")
        label = "or:"
