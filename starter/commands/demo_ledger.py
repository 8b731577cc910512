"""What the simulators wrote down, compared with what was ordered, to find double shipments."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Entry = dict[str, Any]
Get = Callable[[str], Any]

_PAGE = 1_000
_LEFT_THE_NODE = frozenset({"order_handed_over", "order_collected"})
_NEVER_ARRIVED = frozenset({"parcel_lost", "parcel_returned"})


def read_ledger(get: Get) -> Iterator[Entry]:
    """All entries of a simulator; `get` answers a path with JSON."""
    after = 0
    while True:
        entries = get(f"/ledger?after={after}&limit={_PAGE}")["entries"]
        yield from entries
        if len(entries) < _PAGE:
            return
        after = entries[-1]["id"]


def duplicate_shipments(entries: Iterable[Entry], ordered: dict[tuple[str, str], int]) -> int:
    """How many shipments were one too many, by any of three signs.

    A fulfillment that left its node twice; a package picked up under two labels; an order line of
    which more units left than `ordered` (by order id and line id, in base units), units of lost
    and returned parcels not counted.
    """
    known = list(entries)
    return _left_twice(known) + _labelled_twice(known) + _too_many_units(known, ordered)


def _left_twice(entries: list[Entry]) -> int:
    left = Counter(entry["reference"] for entry in entries if entry["kind"] in _LEFT_THE_NODE)
    return sum(times - 1 for times in left.values())


def _labelled_twice(entries: list[Entry]) -> int:
    package_of = {
        entry["tracking_number"]: entry["package_reference"]
        for entry in entries
        if entry["kind"] == "label_bought"
    }
    gone = Counter(
        package_of[entry["tracking_number"]]
        for entry in entries
        if entry["kind"] == "parcel_picked_up" and entry["tracking_number"] in package_of
    )
    return sum(times - 1 for times in gone.values())


def _too_many_units(entries: list[Entry], ordered: dict[tuple[str, str], int]) -> int:
    left = {entry["reference"] for entry in entries if entry["kind"] in _LEFT_THE_NODE}
    lost = {entry["reference"] for entry in entries if entry["kind"] in _NEVER_ARRIVED}
    shipped: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if entry["kind"] == "order_picked" and entry["reference"] in left - lost:
            order_id = entry["reference"].rpartition("-")[0]
            for line in entry["lines"]:
                shipped[order_id, line["line_id"]] += line["picked"]
    return sum(1 for line, units in shipped.items() if units > ordered.get(line, units))
