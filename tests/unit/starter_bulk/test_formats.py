from pathlib import Path

import pytest

from starter.bulk.format_names import Format
from starter.bulk.formats import detect, load
from starter.bulk.loaded import UnreadableInputError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("orders.csv", b"", Format.CSV),
        ("orders.ndjson", b"", Format.NDJSON),
        ("orders.jsonl", b"", Format.NDJSON),
        ("orders.json", b'[{"order_id": "A"}]', Format.JSON),
        ("orders.json", b'{\n "order_id": "A"\n}', Format.JSON),
        ("orders.json", b'{"order_id": "A"}\n{"order_id": "B"}\n', Format.NDJSON),
        ("orders.json", b'{"order_id": "A"}\n', Format.JSON),
        ("orders.json", b"oops", Format.JSON),
        ("orders", b'\xef\xbb\xbf\n{"order_id": "A"}\n{"order_id": "B"}', Format.NDJSON),
    ],
)
def test_the_format_is_told_by_name_and_first_characters(
    tmp_path: Path, name: str, content: bytes, expected: Format
) -> None:
    (tmp_path / name).write_bytes(content)

    assert detect(tmp_path / name) is expected


def test_what_cannot_be_told_must_be_said(tmp_path: Path) -> None:
    (tmp_path / "orders.txt").write_text("ISA*00*")

    with pytest.raises(UnreadableInputError, match="say --format json, ndjson, csv or olist"):
        detect(tmp_path / "orders.txt")
    with pytest.raises(UnreadableInputError, match=r"a folder, but without olist_orders_dataset"):
        detect(tmp_path)


def test_a_limit_counts_orders(tmp_path: Path) -> None:
    path = tmp_path / "orders.ndjson"
    path.write_text('{"order_id": "A"}\n{"order_id": "B"}\n{"order_id": "C"}\n')

    assert [x.order_id for x in load(path, Format.AUTO, 2)] == ["A", "B"]
