"""What carts hold: the rows, and those of them that an order takes over or that are past."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from store.driver import Sql, assign, delete, fetch, given, insert, moment, write
from store.ledger import Cause
from store.shelf import Place, Shelf


class HoldLine(NamedTuple):
    """Units of one line of a hold at one node. `counted` is false for endless supply."""

    hold_id: str
    order_id: str | None
    node_id: str
    line_id: str
    sku: str
    wanted: int
    quantity: int
    counted: bool

    @property
    def place(self) -> Place:
        """Where the units lie."""
        return (self.node_id, self.sku)


_LINE = "h.hold_id, h.order_id, l.node_id, l.line_id, l.sku, l.wanted, l.quantity, l.counted"
_OF_ORDERS = (
    f"SELECT {_LINE} FROM {{given}} CROSS JOIN cart_holds h JOIN hold_lines l"  # noqa: S608 (own names)
    " ON l.hold_id = h.hold_id WHERE h.order_id = w.order_id AND h.ended IS NULL"
    " ORDER BY h.hold_id, l.line_id, l.node_id"
)
SEEN_OF_ORDERS = given(_OF_ORDERS, {"order_id": "text"})
OF_ORDERS = given(_OF_ORDERS, {"order_id": "text"}, locking=" FOR UPDATE OF h")
_OF_HOLDS = given(
    f"SELECT {_LINE} FROM {{given}} CROSS JOIN cart_holds h JOIN hold_lines l"  # noqa: S608 (own names)
    " ON l.hold_id = h.hold_id WHERE h.hold_id = w.hold_id"
    " ORDER BY h.hold_id, l.line_id, l.node_id",
    {"hold_id": "text"},
)
# Whoever is just extending or ending such a hold is passed over: neither waits for the other. One
# that an order has is left to the schedule: that order may be giving it up in this transaction.
_EXPIRED_AT = given(
    f"SELECT {_LINE} FROM {{given}} CROSS JOIN hold_lines l JOIN cart_holds h"  # noqa: S608 (own names)
    " ON h.hold_id = l.hold_id WHERE l.sku = w.sku AND l.node_id = w.node_id AND l.counted"
    " AND h.ended IS NULL AND h.order_id IS NULL AND h.expires_at <= w.at ORDER BY h.hold_id",
    {"sku": "text", "node_id": "text", "at": "time"},
    locking=" FOR UPDATE OF h SKIP LOCKED",
)
_KEEP = insert(
    "cart_holds",
    {
        "hold_id": "text",
        "channel": "text",
        "order_id": "text",
        "expires_at": "time",
        "ended": "text",
    },
)
LINES = insert(
    "hold_lines",
    {
        "hold_id": "text",
        "line_id": "text",
        "node_id": "text",
        "sku": "text",
        "wanted": "bigint",
        "quantity": "bigint",
        "counted": "boolean",
    },
)
_ENDED = assign("cart_holds", {"hold_id": "text"}, {"ended": "text"})
_DELETE = delete("hold_lines", "hold_id")
_DELETE_AT = delete("hold_lines", "hold_id", "node_id", "sku")


def lines_of(session: Session, hold_ids: Iterable[str]) -> list[HoldLine]:
    """The lines of these holds; lock the holds before, where the lines are to change."""
    [rows] = fetch(session, (_OF_HOLDS, [{"hold_id": hold_id} for hold_id in hold_ids]))
    return [HoldLine(*row) for row in rows]


def units_of(lines: Iterable[HoldLine]) -> dict[Place, int]:
    """Units of stock the lines hold, by place."""
    units: dict[Place, int] = {}
    for line in lines:
        if line.counted:
            units[line.place] = units.get(line.place, 0) + line.quantity
    return units


def endings(ended: Mapping[str, str]) -> tuple[tuple[Sql, Sequence[Mapping[str, Any]]], ...]:
    """Statements that end holds (hold id -> why) whose units were given back."""
    rows = [{"hold_id": hold_id, "ended": why} for hold_id, why in sorted(ended.items())]
    return (_ENDED, rows), (_DELETE, rows)


def keep(
    session: Session, hold_id: str, order_id: str, lines: Sequence[HoldLine], until: datetime
) -> None:
    """Make a hold of the order's of units that were moved into `held` already."""
    head = {
        "hold_id": hold_id,
        "channel": "",
        "order_id": order_id,
        "expires_at": moment(until),
        "ended": None,
    }
    write(session, (_KEEP, [head]), (LINES, [line._asdict() for line in lines]))


def give_back(shelf: Shelf, lines: Sequence[HoldLine], now: datetime) -> None:
    """Let the units of these lines be taken again."""
    for hold_id in sorted({line.hold_id for line in lines}):
        units = units_of(line for line in lines if line.hold_id == hold_id)
        shelf.give_back(units, "held", ended_hold(hold_id, now))


def ended_hold(hold_id: str, now: datetime) -> Cause:
    """Why stock changes when a hold ends."""
    return Cause(f"hold/{hold_id}/end", now, "end_hold")


def free_expired(session: Session, shelf: Shelf, places: Iterable[Place], now: datetime) -> bool:
    """Give back at these places, on the shelf, what past holds still hold; whether any did.

    A hold that is past is ended by a schedule; until then it must not cost anybody an order.
    """
    asked = [{"node_id": node, "sku": sku, "at": moment(now)} for node, sku in sorted(places)]
    [rows] = fetch(session, (_EXPIRED_AT, asked))
    lines = [HoldLine(*row) for row in rows]
    give_back(shelf, lines, now)
    write(session, (_DELETE_AT, [line._asdict() for line in lines]))
    return bool(lines)
