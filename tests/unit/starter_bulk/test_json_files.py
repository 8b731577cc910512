import json
from pathlib import Path

import pytest

from starter.bulk.json_files import load_json, load_ndjson
from starter.bulk.loaded import LoadedOrder, UnreadableInputError


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "orders.txt"
    path.write_bytes(content)
    return path


def test_a_file_with_one_order_gives_that_order_at_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, b'\n\n{"order_id": "A-1", "quantity": 2}\n')

    assert list(load_json(path)) == [LoadedOrder(3, document={"order_id": "A-1", "quantity": 2})]


def test_an_array_gives_each_order_with_the_line_it_starts_on(tmp_path: Path) -> None:
    path = written(tmp_path, b'[\n {"order_id": "A-1"},\n {"order_id":\n "A-2"},\n {}\n]')

    found = list(load_json(path))

    assert [(x.line_number, x.document) for x in found] == [
        (2, {"order_id": "A-1"}),
        (3, {"order_id": "A-2"}),
        (5, {}),
    ]


def test_an_empty_array_holds_no_orders(tmp_path: Path) -> None:
    assert list(load_json(written(tmp_path, b" [ ] "))) == []


def test_a_byte_order_mark_is_no_part_of_the_orders(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"order_id": "A-1"}\n'

    for loader in (load_json, load_ndjson):
        assert list(loader(written(tmp_path, content))) == [
            LoadedOrder(1, document={"order_id": "A-1"})
        ]


def test_orders_before_broken_json_in_an_array_are_kept_and_the_place_is_named(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, b'[{"order_id": "A-1"},\n {"order_id" "A-2"},\n {"order_id": "A-3"}]')

    found = list(load_json(path))

    assert found == [
        LoadedOrder(1, document={"order_id": "A-1"}),
        LoadedOrder(
            2,
            error="broken JSON at column 14: Expecting ':' delimiter; the rest was not read",
        ),
    ]


@pytest.mark.parametrize(
    ("content", "line", "error"),
    [
        (b"[1]", 1, "an order is a JSON object, not a number"),
        (b"[{}", 1, "expected ',' or ']' here; the rest was not read"),
        (b"null", 1, "an order is a JSON object, not null"),
        (b'{"a": NaN}', 1, "broken JSON: NaN is no JSON value"),
        (b"{} {}", 1, "more text follows the order; several orders need an array"),
        (
            b'{"a": ',
            1,
            "broken JSON at column 7: Expecting value (the text ends here)",
        ),
    ],
)
def test_what_is_no_order_is_told_with_its_place(
    tmp_path: Path, content: bytes, line: int, error: str
) -> None:
    *_, last = load_json(written(tmp_path, content))

    assert last == LoadedOrder(line, error=error)


def test_a_document_nested_too_deeply_is_an_error_of_its_line(tmp_path: Path) -> None:
    content = b"[" * 100_000

    assert list(load_ndjson(written(tmp_path, content))) == [
        LoadedOrder(1, error="broken JSON: nested too deeply")
    ]


def test_a_broken_line_holds_up_no_other(tmp_path: Path) -> None:
    content = b'{"order_id": "A-1"}\n{oops}\n\n"text"\n\xff\xfe\n{"order_id": "A-2"}\r\n'

    found = list(load_ndjson(written(tmp_path, content)))

    assert found == [
        LoadedOrder(1, document={"order_id": "A-1"}),
        LoadedOrder(
            2,
            error="broken JSON at column 2: Expecting property name enclosed in double quotes",
        ),
        LoadedOrder(4, error="an order is a JSON object, not a text"),
        LoadedOrder(5, error="byte 1 is not UTF-8"),
        LoadedOrder(6, document={"order_id": "A-2"}),
    ]


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, b'{\n"name": "M\xfcller"}')

    with pytest.raises(UnreadableInputError, match="line 2 is not UTF-8; save the file as UTF-8"):
        list(load_json(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for loader in (load_json, load_ndjson):
        with pytest.raises(UnreadableInputError, match=r"nowhere\.json: no such file"):
            list(loader(tmp_path / "nowhere.json"))


def test_orders_are_read_one_by_one(tmp_path: Path) -> None:
    lines = [json.dumps({"order_id": f"A-{n}"}) for n in range(10_000)]
    path = written(tmp_path, "\n".join(lines).encode())

    first = next(iter(load_ndjson(path)))

    assert first == LoadedOrder(1, document={"order_id": "A-0"})
