"""Orders from JSON (one order, or an array of them) and NDJSON (one order a line)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from starter.bulk.loaded import LoadedOrder, UnreadableInputError

_BLANK = " \t\r\n"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def load_json(path: Path) -> Iterator[LoadedOrder]:
    """The order, or each order of the array, in that file.

    Broken JSON inside an array ends the reading there, with an error that says so: what follows
    cannot be told apart. Raises UnreadableInputError when the file is absent or not UTF-8.
    """
    text = read_text(path)
    start = _skip_blank(text, 0)
    if text[start : start + 1] != "[":
        yield _only_order(text, start)
        return
    yield from _array_items(text, start + 1)


def load_ndjson(path: Path) -> Iterator[LoadedOrder]:
    """One order a line; blank lines are skipped and a broken line holds up no other.

    Raises UnreadableInputError when the file is absent.
    """
    with open_bytes(path) as lines:
        for number, raw in enumerate(lines, start=1):
            if raw.strip():
                yield _order_of_line(number, raw)


def _order_of_line(number: int, raw: bytes) -> LoadedOrder:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return LoadedOrder(number, error=f"byte {error.start + 1} is not UTF-8")
    return _only_order(text, _skip_blank(text, 0), line_number=number)


def _only_order(text: str, start: int, line_number: int | None = None) -> LoadedOrder:
    line = line_number or _line_of(text, start)
    try:
        value, end = _decode(text, start)
    except ValueError as error:
        return LoadedOrder(line, error=_broken(error, None if line_number else line, text))
    if text[_skip_blank(text, end) :]:
        return LoadedOrder(line, error="more text follows the order; several orders need an array")
    return _order(line, value)


def _array_items(text: str, start: int) -> Iterator[LoadedOrder]:
    position = _skip_blank(text, start)
    if text[position : position + 1] == "]":
        return
    line, counted = 1, 0
    while True:
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, end = _decode(text, position)
        except ValueError as error:
            yield LoadedOrder(line, error=f"{_broken(error, line, text)}; the rest was not read")
            return
        yield _order(line, value)
        end = _skip_blank(text, end)
        if text[end : end + 1] == "]":
            return
        if text[end : end + 1] != ",":
            yield LoadedOrder(
                _line_of(text, end), error="expected ',' or ']' here; the rest was not read"
            )
            return
        position = _skip_blank(text, end + 1)


def _order(line: int, value: Any) -> LoadedOrder:
    if not isinstance(value, dict):
        return LoadedOrder(line, error=f"an order is a JSON object, not {_kind(value)}")
    return LoadedOrder(line, document=value)


def _decode(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _broken(error: ValueError, line: int | None, text: str) -> str:
    """What is wrong and where; `line`, on which the order starts, is named with it anyway.

    None: the text is one line of the file.
    """
    if not isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error}"
    is_elsewhere = line is not None and error.lineno != line
    where = f"line {error.lineno} column {error.colno}" if is_elsewhere else f"column {error.colno}"
    ended = " (the text ends here)" if error.pos >= len(text.rstrip()) else ""
    return f"broken JSON at {where}: {error.msg}{ended}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names[type(value)]


def _skip_blank(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def read_text(path: Path) -> str:
    """The file's text without a byte order mark. Raises UnreadableInputError."""
    with open_bytes(path) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableInputError(
            f"{path}: line {line} is not UTF-8; save the file as UTF-8"
        ) from error


def open_bytes(path: Path) -> BinaryIO:
    """The file opened for reading bytes. Raises UnreadableInputError that says why it cannot."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise UnreadableInputError(f"{path}: no such file") from error
    except OSError as error:
        raise UnreadableInputError(f"{path}: cannot be read: {error.strerror}") from error
