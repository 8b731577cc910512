"""Orders from CSV: a header row, then one row per order line; the rows of an order stand together.

An order whose rows stand apart is refused whole, with the lines on which its parts begin.

Columns (only `order_id`, `sku` and `quantity` must be there; an empty cell means "not given"):

| columns | meaning |
|---|---|
| `order_id`, `source`, `external_id`, `version`, `order_type`, `channel`, `brand`, `region`, `currency`, `placed_at` | the order; `source` is `csv`, `external_id` the order id, `currency` USD and `placed_at` the file's last change unless given |
| `customer_id`, `customer_name`, `email`, `phone`, `account_id`, `tier` | the customer |
| `payment_status`, `po_number`, `payment_terms`, `allow_split`, `allow_backorder`, `shipping` | `shipping` becomes a charge |
| `ship_group`, `method`, `node_id`, `service_level`, `not_before`, `deliver_by`, `ship_complete` | the line's ship group, `1` unless given |
| `name`, `line1`, `line2`, `city`, `state`, `postal_code`, `country`, `latitude`, `longitude` | that group's address; none when all are empty |
| `line_id`, `sku`, `quantity`, `uom`, `unit_price`, `discount`, `tax` | the line; `line_id` counts from 1 unless given |

Facts of the order and of a ship group are taken from the first row that gives them; a later row that
says something else is an error of that order.
"""  # noqa: E501 (a table row is one line)

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Self

from starter.bulk.json_files import open_bytes
from starter.bulk.loaded import Document, LoadedOrder, UnreadableInputError


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is no whole number") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is no number") from error


def _yes_or_no(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"'{text}' is neither true nor false")
    return known[text.lower()]


Reader = Callable[[str], Any]
_ORDER: dict[str, Reader] = {
    "source": str,
    "external_id": str,
    "version": _whole,
    "order_type": str,
    "channel": str,
    "brand": str,
    "region": str,
    "currency": str,
    "placed_at": str,
    "po_number": str,
    "payment_terms": str,
    "allow_split": _yes_or_no,
    "allow_backorder": _yes_or_no,
}
_CUSTOMER: dict[str, tuple[str, Reader]] = {
    "customer_id": ("customer_id", str),
    "customer_name": ("name", str),
    "email": ("email", str),
    "phone": ("phone", str),
    "account_id": ("account_id", str),
    "tier": ("tier", str),
}
_GROUP: dict[str, Reader] = {
    "method": str,
    "node_id": str,
    "service_level": str,
    "not_before": str,
    "deliver_by": str,
    "ship_complete": _yes_or_no,
}
_ADDRESS: dict[str, tuple[str, Reader]] = {
    "name": ("name", str),
    "line1": ("line1", str),
    "line2": ("line2", str),
    "city": ("city", str),
    "state": ("region", str),
    "postal_code": ("postal_code", str),
    "country": ("country", str),
    "latitude": ("latitude", _number),
    "longitude": ("longitude", _number),
}
_LINE: dict[str, tuple[str, Reader]] = {
    "line_id": ("line_id", str),
    "sku": ("sku", str),
    "quantity": ("quantity", _whole),
    "uom": ("ordered_uom", str),
    "unit_price": ("unit_price", str),
    "discount": ("discount", str),
    "tax": ("tax", str),
}
_OTHERS = {"order_id", "payment_status", "shipping", "ship_group"}
COLUMNS = _OTHERS | set(_ORDER) | set(_CUSTOMER) | set(_GROUP) | set(_ADDRESS) | set(_LINE)
REQUIRED = ("order_id", "sku", "quantity")


@dataclass
class _Rows:
    """The rows of one order, and the first mistake found in them."""

    order_id: str
    line_number: int
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    error: str | None = None


def load_csv(path: Path) -> Iterator[LoadedOrder]:
    """The orders of that file.

    Raises UnreadableInputError when the file is absent or its header misses or misnames columns.
    """
    scattered = _scattered(path)
    # Not the present time: the same file sent again must give the same documents.
    placed_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    for group in _grouped(path):
        if group.order_id in scattered:
            lines = ", ".join(str(line) for line in scattered[group.order_id])
            group.error = (
                f"order '{group.order_id}' has rows apart, from lines {lines}: keep them together;"
                " none of it was sent"
            )
        yield _loaded(group, placed_at)


def _scattered(path: Path) -> dict[str, list[int]]:
    """The orders whose rows stand apart, with the line on which each part begins.

    The file is read to its end before any order is sent: a stray row may be its last.
    """
    begins: dict[str, list[int]] = {}
    for group in _grouped(path):
        if group.order_id:
            begins.setdefault(group.order_id, []).append(group.line_number)
    return {order_id: lines for order_id, lines in begins.items() if len(lines) > 1}


def _grouped(path: Path) -> Iterator[_Rows]:
    with open_bytes(path) as raw:
        # Bytes that are not UTF-8 become lone surrogates: they spoil one order, not the file.
        text = TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        yield from _groups_of(path, text)


def _groups_of(path: Path, text: TextIOWrapper) -> Iterator[_Rows]:
    current: _Rows | None = None
    for number, row, error in _rows(path, text):
        order_id = row.get("order_id") or ""
        if current is None or not order_id or order_id != current.order_id:
            if current is not None:
                yield current
            current = _Rows(order_id, number)
        mistake = error or (None if order_id else "order_id: empty")
        current.rows.append((number, row))
        current.error = current.error or (f"line {number}: {mistake}" if mistake else None)
    if current is not None:
        yield current


def _rows(path: Path, text: TextIOWrapper) -> Iterator[tuple[int, dict[str, str], str | None]]:
    lines = _LinesRead(text)
    reader = csv.reader(lines, strict=True)
    header = _header(path, reader)
    place = header.index("order_id")
    while True:
        number = reader.line_num + 1
        lines.first = ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Whose row it is can still be read, as far as its cells are plain.
            cells = [cell.strip(' "\r\n') for cell in lines.first.split(",")]
            order_id = cells[place] if place < len(cells) else ""
            yield number, {"order_id": order_id}, f"no CSV: {_plain(error)}"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        yield number, row, _mistake(header, cells)


def _plain(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote opened here is not closed; the rest was not read"
    return str(error)


class _LinesRead:
    """Lines on their way to the CSV reader; `first` is the first since it was emptied."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.first = ""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.first = self.first or line
        return line


def _header(path: Path, reader: Any) -> list[str]:
    try:
        header = [cell.strip().lower() for cell in next(reader)]
    except (StopIteration, csv.Error) as error:
        raise UnreadableInputError(f"{path}: the file has no header row") from error
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise UnreadableInputError(f"{path}: the header has no column '{missing[0]}'")
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise UnreadableInputError(
            f"{path}: unknown column '{unknown[0]}'; known are {', '.join(sorted(COLUMNS))}"
        )
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise UnreadableInputError(f"{path}: column '{repeated[0]}' stands twice")
    return header


def _mistake(header: list[str], cells: list[str]) -> str | None:
    if len(cells) != len(header):
        return f"{len(cells)} cells, the header has {len(header)}"
    for name, cell in zip(header, cells, strict=True):
        if any("\ud800" <= character <= "\udfff" for character in cell):
            return f"{name}: not UTF-8"
    return None


def _loaded(group: _Rows, placed_at: str) -> LoadedOrder:
    if group.error is not None:
        return LoadedOrder(group.line_number, error=group.error)
    try:
        document = _document(group, placed_at)
    except ValueError as error:
        return LoadedOrder(group.line_number, error=str(error))
    return LoadedOrder(group.line_number, document=document)


def _document(group: _Rows, placed_at: str) -> Document:
    facts = _Facts(group)
    document: Document = {
        "order_id": group.order_id,
        "source": "csv",
        "external_id": group.order_id,
        "currency": "USD",
        "placed_at": placed_at,
    }
    document.update(facts.agreed(_ORDER))
    customer = facts.agreed_renamed(_CUSTOMER)
    if customer:
        document["customer"] = customer
    payment = facts.agreed({"payment_status": str})
    if payment:
        document["payment"] = {"status": payment["payment_status"]}
    charges = facts.agreed({"shipping": str})
    if charges:
        document["charges"] = [{"type": "shipping", "amount": charges["shipping"]}]
    document["ship_groups"] = _ship_groups(group)
    document["lines"] = [
        _line(position, number, row) for position, (number, row) in enumerate(group.rows, start=1)
    ]
    return document


def _ship_groups(group: _Rows) -> list[Document]:
    by_id: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for number, row in group.rows:
        by_id.setdefault(row.get("ship_group") or "1", []).append((number, row))
    ship_groups = []
    for group_id, rows in by_id.items():
        facts = _Facts(_Rows(group.order_id, rows[0][0], rows))
        ship_group: Document = {"id": group_id, **facts.agreed(_GROUP)}
        address = facts.agreed_renamed(_ADDRESS)
        if address:
            ship_group["address"] = address
        ship_groups.append(ship_group)
    return ship_groups


def _line(position: int, number: int, row: dict[str, str]) -> Document:
    line: Document = {"line_id": str(position), "ship_group": row.get("ship_group") or "1"}
    for column, (name, read) in _LINE.items():
        if row.get(column):
            line[name] = _read(number, column, row[column], read)
    return line


class _Facts:
    """What the rows of an order or ship group say once, though they may repeat it."""

    def __init__(self, group: _Rows) -> None:
        self._rows = group.rows

    def agreed(self, columns: dict[str, Reader]) -> Document:
        """Values by column. Raises ValueError when two rows disagree or a cell cannot be read."""
        found = {}
        for column, read in columns.items():
            given = [(number, row[column]) for number, row in self._rows if row.get(column)]
            if not given:
                continue
            first_number, first = given[0]
            for number, other in given[1:]:
                if other != first:
                    raise ValueError(
                        f"line {number}: {column}: '{other}' differs from '{first}' in line "
                        f"{first_number}"
                    )
            found[column] = _read(first_number, column, first, read)
        return found

    def agreed_renamed(self, columns: dict[str, tuple[str, Reader]]) -> Document:
        """The same, under the names that the order document uses."""
        found = self.agreed({column: read for column, (_, read) in columns.items()})
        return {columns[column][0]: value for column, value in found.items()}


def _read(number: int, column: str, text: str, read: Reader) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"line {number}: {column}: {error}") from error
