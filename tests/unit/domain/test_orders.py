from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from domain.money import minor_units
from domain.orders import Order

ADDRESS = {"country": "US", "city": "Reno"}


def document(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "order_id": "W-1",
        "source": "shop",
        "external_id": "1",
        "currency": "USD",
        "placed_at": "2026-03-02T09:00:00+01:00",
        "ship_groups": [{"id": "1", "address": ADDRESS}],
        "lines": [
            {
                "line_id": "1",
                "sku": "A",
                "quantity": 2,
                "unit_price": "19.90",
                "discount": "1.00",
                "tax": "3.10",
            },
            {"line_id": "2", "sku": "B", "quantity": 1, "unit_price": "5", "parent_line_id": "1"},
        ],
        "charges": [{"type": "shipping", "amount": "4.90"}],
    }
    return facts | changes


def order(**changes: Any) -> Order:
    return Order.model_validate(document(**changes))


def problem(**changes: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        order(**changes)
    return str(refused.value)


def one_line(**changes: Any) -> dict[str, Any]:
    return {"lines": [{"line_id": "1", "sku": "A", "quantity": 1} | changes]}


def test_an_order_adds_up_and_keeps_utc() -> None:
    taken = order()

    assert taken.goods_value == Decimal("43.80")
    assert taken.total == Decimal("51.80")
    assert taken.placed_at.isoformat() == "2026-03-02T08:00:00+00:00"
    assert taken.group("1").address is not None
    with pytest.raises(KeyError):
        taken.group("2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ship_groups": [{"id": "1"}]}, "needs an address"),
        ({"ship_groups": [{"id": "1", "method": "pickup"}]}, "needs the store's node_id"),
        (
            {
                "ship_groups": [
                    {
                        "id": "1",
                        "address": ADDRESS,
                        "not_before": "2026-03-03T00:00:00Z",
                        "deliver_by": "2026-03-02T00:00:00Z",
                    }
                ]
            },
            "deliver_by lies before not_before",
        ),
        ({"ship_groups": [{"id": "1", "address": ADDRESS}] * 2}, "stands more than once"),
        ({"lines": document()["lines"][:1] * 2}, "line_id '1' stands more than once"),
        (one_line(ship_group="9"), "lines.0.ship_group: no ship group '9'"),
        (one_line(parent_line_id="9"), "lines.0.parent_line_id: no line '9'"),
        (one_line(unit_price="1.234"), "lines.0.unit_price: USD has 2 decimal places"),
        ({"charges": [{"type": "fee", "amount": "0.001"}]}, "charges.0.amount: USD"),
        (one_line(unit_price=19.9), "send money as a string"),
        (one_line(quantity="2"), "valid integer"),
        (one_line(quantity=0), "greater than or equal to 1"),
        (one_line(color="red"), "Extra inputs are not permitted"),
        ({"currency": "XXZ"}, "is no ISO 4217 currency code"),
        ({"ship_groups": [{"id": "1", "address": {"country": "ZZ"}}]}, "is no ISO 3166"),
        ({"placed_at": "2026-03-02T09:00:00"}, "timezone"),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, "lies outside the calendar in UTC"),
        ({"lines": []}, "at least 1 item"),
    ],
)
def test_a_bad_document_is_refused_with_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    assert said in problem(**changes)


def test_currencies_know_their_decimal_places() -> None:
    assert [minor_units(x) for x in ("USD", "JPY", "KWD", "CLF")] == [2, 0, 3, 4]
    yen = one_line(unit_price="100.50")
    assert "JPY has 0 decimal places" in problem(currency="JPY", charges=[], **yen)


def test_a_store_pickup_needs_no_address() -> None:
    group = {"id": "1", "method": "pickup", "node_id": "S1"}

    assert order(ship_groups=[group]).group("1").node_id == "S1"
