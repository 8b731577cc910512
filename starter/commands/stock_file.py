"""A stock count from CSV: `node_id`, `sku`, `quantity` and, if need be, `condition`."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starter.bulk.loaded import UnreadableInputError

_COLUMNS = {"node_id", "sku", "quantity", "condition"}


def read_stock_file(path: Path, counted_at: str | None = None) -> dict[str, Any]:
    """The body of PUT /v1/inventory/snapshots; counted when the file was last changed unless told.

    Raises UnreadableInputError naming the first bad line: a count is taken whole or not at all.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _rows(path, csv.DictReader(file, strict=True))
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError as error:
        raise UnreadableInputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInputError(f"{path}: cannot be read as CSV: {error}") from error
    return {"counted_at": counted_at or changed.isoformat(), "rows": rows}


def _rows(path: Path, reader: "csv.DictReader[str]") -> list[dict[str, Any]]:
    header = {name.strip() for name in reader.fieldnames or ()}
    missing = sorted({"node_id", "sku", "quantity"} - header)
    if missing:
        raise UnreadableInputError(f"{path}: the header has no column '{missing[0]}'")
    unknown = sorted(header - _COLUMNS)
    if unknown:
        raise UnreadableInputError(f"{path}: unknown column '{unknown[0]}'")
    rows = [_row(path, reader.line_num, row) for row in reader]
    if not rows:
        raise UnreadableInputError(f"{path}: there are no rows below the header")
    return rows


def _row(path: Path, line: int, row: dict[str, Any]) -> dict[str, Any]:
    # csv gives surplus cells the name None, and None to missing ones.
    if None in row or None in row.values():
        raise UnreadableInputError(f"{path}: line {line}: cells and header do not match")
    cells = {name.strip(): cell.strip() for name, cell in row.items()}
    if not cells["quantity"].isdecimal():
        raise UnreadableInputError(
            f"{path}: line {line}: quantity: '{cells['quantity']}' is no whole number from 0 up"
        )
    found: dict[str, Any] = {name: cells[name] for name in ("node_id", "sku")}
    found["quantity"] = int(cells["quantity"])
    if cells.get("condition"):
        found["condition"] = cells["condition"]
    return found
