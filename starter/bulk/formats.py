"""Which loader reads a file, told by its name and its first characters unless asked for."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from starter.bulk.csv_file import load_csv
from starter.bulk.format_names import Format
from starter.bulk.json_files import load_json, load_ndjson, open_bytes
from starter.bulk.loaded import LoadedOrder, UnreadableInputError
from starter.bulk.olist import OlistData, is_olist


def detect(path: Path) -> Format:
    """The format of that file or folder. Raises UnreadableInputError when it cannot be told."""
    if path.is_dir():
        if is_olist(path):
            return Format.OLIST
        raise UnreadableInputError(f"{path}: a folder, but without olist_orders_dataset.csv")
    by_name = {".csv": Format.CSV, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON}
    if path.suffix.lower() in by_name:
        return by_name[path.suffix.lower()]
    with open_bytes(path) as file:
        lines = [line.removeprefix(b"\xef\xbb\xbf").strip() for line in islice(file, 2_000)]
    lines = [line for line in lines if line]
    first = lines[0] if lines else b""
    if first.startswith(b"{") and first.endswith(b"}") and len(lines) > 1:
        return Format.NDJSON
    if first.startswith((b"{", b"[")) or path.suffix.lower() == ".json":
        return Format.JSON
    raise UnreadableInputError(
        f"{path}: cannot tell its format; say --format json, ndjson, csv or olist"
    )


def load(path: Path, form: Format, limit: int | None = None) -> Iterable[LoadedOrder]:
    """At most `limit` orders of that input. Raises UnreadableInputError, some only while read."""
    if form is Format.AUTO:
        form = detect(path)
    if form is Format.OLIST:
        return OlistData(path, limit)
    loader = {Format.JSON: load_json, Format.NDJSON: load_ndjson, Format.CSV: load_csv}[form]
    return islice(loader(path), limit)
