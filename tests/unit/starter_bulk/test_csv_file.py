import os
from pathlib import Path

import pytest

from domain.orders import Order
from starter.bulk.csv_file import load_csv
from starter.bulk.loaded import LoadedOrder, UnreadableInputError


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "orders.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def test_rows_of_one_order_become_one_document_with_every_column(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "order_id,source,currency,placed_at,brand,customer_name,email,shipping,payment_status,"
        "allow_split,method,name,line1,city,state,postal_code,country,latitude,longitude,"
        "sku,quantity,uom,unit_price\n"
        'W-1,shop,EUR,2026-01-02T03:04:05Z,acme,Ada,a@b.example,4.90,paid,no,ship,Ada,"Way 1, 2nd",'
        "Berlin,BE,10115,DE,52.53,13.38,MUG,2,CS,19.90\n"
        "W-1,,,,,,,,,,,,,,,,,,,PAN,1,,44.00\n",
    )

    (found,) = load_csv(path)

    assert found.line_number == 2
    assert found.document == {
        "order_id": "W-1",
        "source": "shop",
        "external_id": "W-1",
        "currency": "EUR",
        "placed_at": "2026-01-02T03:04:05Z",
        "brand": "acme",
        "allow_split": False,
        "customer": {"name": "Ada", "email": "a@b.example"},
        "payment": {"status": "paid"},
        "charges": [{"type": "shipping", "amount": "4.90"}],
        "ship_groups": [
            {
                "id": "1",
                "method": "ship",
                "address": {
                    "name": "Ada",
                    "line1": "Way 1, 2nd",
                    "city": "Berlin",
                    "region": "BE",
                    "postal_code": "10115",
                    "country": "DE",
                    "latitude": 52.53,
                    "longitude": 13.38,
                },
            }
        ],
        "lines": [
            {
                "line_id": "1",
                "ship_group": "1",
                "sku": "MUG",
                "quantity": 2,
                "ordered_uom": "CS",
                "unit_price": "19.90",
            },
            {
                "line_id": "2",
                "ship_group": "1",
                "sku": "PAN",
                "quantity": 1,
                "unit_price": "44.00",
            },
        ],
    }
    assert str(Order.model_validate(found.document).total) == "88.70"


def test_what_is_not_given_is_the_same_each_time_the_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "order_id,sku,quantity,country\nW-1,MUG,1,US\n")

    first, again = list(load_csv(path)), list(load_csv(path))

    assert first == again
    assert first[0].document is not None
    assert first[0].document["placed_at"] == "2023-11-14T22:13:20+00:00"
    assert first[0].document["currency"] == "USD"


def test_lines_of_two_destinations_become_two_ship_groups(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "order_id,sku,quantity,ship_group,method,node_id,country,line_id\n"
        "W-1,MUG,1,home,ship,,US,a\n"
        "W-1,PAN,1,shop,pickup,store-1,,b\n",
    )

    (found,) = load_csv(path)

    assert found.document is not None
    assert found.document["ship_groups"] == [
        {"id": "home", "method": "ship", "address": {"country": "US"}},
        {"id": "shop", "method": "pickup", "node_id": "store-1"},
    ]
    assert [(x["line_id"], x["ship_group"]) for x in found.document["lines"]] == [
        ("a", "home"),
        ("b", "shop"),
    ]


def test_a_quoted_cell_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "order_id,sku,quantity,line1,country\n"
        'W-1,MUG,1,"12 ""B"", Way\nbackyard",US\nW-2,MUG,1,x,US\n',
    )

    first, second = load_csv(path)

    assert first.document is not None
    assert first.document["ship_groups"][0]["address"]["line1"] == '12 "B", Way\nbackyard'
    assert (first.line_number, second.line_number) == (2, 4)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbforder_id,sku,quantity\r\nW-1,MUG,1\r\n\r\n")

    (found,) = load_csv(path)

    assert found.order_id == "W-1"


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("W-1,MUG,two,,", "line 2: quantity: 'two' is no whole number"),
        ("W-1,MUG,2.5,,", "line 2: quantity: '2.5' is no whole number"),
        ("W-1,MUG,1,x,", "line 2: latitude: 'x' is no number"),
        ("W-1,MUG,1,,maybe", "line 2: allow_split: 'maybe' is neither true nor false"),
        ("W-1,MUG,1", "line 2: 3 cells, the header has 5"),
        (",MUG,1,,", "line 2: order_id: empty"),
    ],
)
def test_a_broken_row_is_an_error_of_its_order_and_no_other(
    tmp_path: Path, row: str, error: str
) -> None:
    path = written(tmp_path, f"order_id,sku,quantity,latitude,allow_split\n{row}\nW-2,PAN,1,,yes\n")

    broken, sound = load_csv(path)

    assert broken == LoadedOrder(2, error=error)
    assert sound.order_id == "W-2"


def test_rows_that_disagree_about_their_order_are_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path, "order_id,sku,quantity,currency\nW-1,MUG,1,USD\nW-1,PAN,1,EUR\nW-2,PAN,1,EUR\n"
    )

    first, second = load_csv(path)

    assert first.error == "line 3: currency: 'EUR' differs from 'USD' in line 2"
    assert second.error is None


def test_an_order_whose_rows_stand_apart_is_refused_whole_and_no_other(tmp_path: Path) -> None:
    path = written(tmp_path, "order_id,sku,quantity\nW-1,MUG,1\nW-1,TEA,1\nW-2,MUG,1\nW-1,PAN,1\n")

    found = list(load_csv(path))

    why = "order 'W-1' has rows apart, from lines 2, 5: keep them together; none of it was sent"
    assert [(x.line_number, x.error) for x in found] == [(2, why), (4, None), (5, why)]
    assert [x.order_id for x in found] == [None, "W-2", None]


def test_an_order_with_a_row_that_is_no_csv_is_refused_whole(tmp_path: Path) -> None:
    path = written(tmp_path, 'sku,order_id,quantity\nMUG,W-1,1\nP"A"N,W-1,"1"x\nMUG,W-2,1\n')

    broken, sound = load_csv(path)

    assert broken == LoadedOrder(2, error="line 3: no CSV: ',' expected after '\"'")
    assert sound.order_id == "W-2"


def test_a_row_that_is_no_csv_and_names_no_order_is_refused_alone(tmp_path: Path) -> None:
    path = written(tmp_path, 'sku,order_id,quantity\nMUG,W-1,1\n"P"x\nMUG,W-2,1\n')

    first, broken, last = load_csv(path)

    assert (first.order_id, last.order_id) == ("W-1", "W-2")
    assert broken == LoadedOrder(3, error="line 3: no CSV: ',' expected after '\"'")


def test_a_quote_that_is_never_closed_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, 'order_id,sku,quantity\nW-1,MUG,1\nW-1,"PAN,1\nW-2,MUG,1\n')

    (broken,) = load_csv(path)

    assert broken == LoadedOrder(
        2, error="line 3: no CSV: a quote opened here is not closed; the rest was not read"
    )


def test_bytes_that_are_not_utf8_spoil_one_order_only(tmp_path: Path) -> None:
    path = written(tmp_path, b"order_id,sku,quantity,name\nW-1,MUG,1,M\xfcller\nW-2,MUG,1,Ada\n")

    first, second = load_csv(path)

    assert first.error == "line 2: name: not UTF-8"
    assert second.error is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file has no header row"),
        ("order_id,sku\nA,B\n", "the header has no column 'quantity'"),
        ("order_id,sku,quantity,colour\n", "unknown column 'colour'"),
        ("order_id,sku,quantity,sku\n", "column 'sku' stands twice"),
    ],
)
def test_a_header_that_cannot_be_right_refuses_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UnreadableInputError, match=message):
        list(load_csv(written(tmp_path, text)))
