"""Stock counts from CSV or NDJSON, line by line: the rows that can be sent, and why others not."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from domain.inventory import Condition
from domain.values import ID_PATTERN
from starter.bulk.loaded import UnreadableInputError

REQUIRED = ("node_id", "sku", "quantity")
COLUMNS = frozenset({*REQUIRED, "condition", "counted_at"})
MOST_UNITS = 1_000_000_000

_ID = re.compile(ID_PATTERN)
_CONDITIONS = frozenset(condition.value for condition in Condition)


@dataclass(frozen=True)
class StockLine:
    """A line of the file: the row to send, or what is wrong with it; and how far it was read."""

    number: int
    row: dict[str, Any] | None = None
    error: str = ""
    bytes_read: int = 0


def read_stock(path: Path) -> Iterator[StockLine]:
    """Every line of the file with a count; blank ones are passed over.

    A position and condition that stands on an earlier line already is refused. Raises
    UnreadableInputError when the file cannot be read or its header is wrong.
    """
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            counted = _Counting(file)
            lines = _json_lines(counted) if _is_json(path) else _csv_lines(path, counted)
            for number, found in lines:
                yield _checked(number, found, seen, counted.bytes_read)
    except FileNotFoundError as error:
        raise UnreadableInputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInputError(f"{path}: cannot be read: {error}") from error


class _Counting:
    """Lines of a file, with how many bytes (about: characters) they had."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.bytes_read = 0

    def __iter__(self) -> "_Counting":
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self.bytes_read += len(line)
        return line


def _is_json(path: Path) -> bool:
    if path.suffix in {".ndjson", ".jsonl"}:
        return True
    with path.open(encoding="utf-8-sig") as file:
        return file.read(1) == "{"


def _json_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            yield number, "is no JSON"
            continue
        yield number, found if isinstance(found, dict) else "is no JSON object"


def _csv_lines(path: Path, lines: _Counting) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(lines, strict=True)
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise UnreadableInputError(f"{path}: the header has no column '{missing[0]}'")
    unknown = sorted(set(header) - COLUMNS)
    if unknown:
        raise UnreadableInputError(f"{path}: unknown column '{unknown[0]}'")
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            yield reader.line_num, "cells and header do not match"
            continue
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield reader.line_num, {name: cell for name, cell in row.items() if cell}


def _checked(
    number: int, found: dict[str, Any] | str, seen: set[str], bytes_read: int
) -> StockLine:
    error = found if isinstance(found, str) else _error(found)
    if error or isinstance(found, str):
        return StockLine(number, error=error, bytes_read=bytes_read)
    row = {**found, "quantity": int(found["quantity"])}
    place = f"{row['node_id']}\n{row['sku']}\n{row.get('condition', 'usable')}"
    if place in seen:
        error = f"{row['sku']} at {row['node_id']} was counted on an earlier line"
        return StockLine(number, error=error, bytes_read=bytes_read)
    seen.add(place)
    return StockLine(number, row, bytes_read=bytes_read)


def _error(row: dict[str, Any]) -> str:
    for name in REQUIRED:
        if row.get(name) is None:
            return f"{name}: is missing"
    for name in row:
        if name not in COLUMNS:
            return f"{name}: unknown field"
    for name in ("node_id", "sku"):
        if not isinstance(row[name], str) or not _ID.match(row[name]):
            return f"{name}: {row[name]!r} is no id"
    quantity = row["quantity"]
    is_number = isinstance(quantity, int) and not isinstance(quantity, bool)
    if isinstance(quantity, str):
        is_number = quantity.isdecimal()
    if not is_number or not 0 <= int(quantity) <= MOST_UNITS:
        return f"quantity: {quantity!r} is no whole number from 0 up"
    if row.get("condition", "usable") not in _CONDITIONS:
        return f"condition: {row['condition']!r} is none of {', '.join(sorted(_CONDITIONS))}"
    return ""
