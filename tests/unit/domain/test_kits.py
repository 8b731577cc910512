"""Kits' lines are broken into lines of their components, and what is paid stays the same."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import KitComponent, Product
from domain.kits import (
    KitError,
    OrderedKit,
    broken,
    component_ids,
    ordered_kits,
    parts_of,
    units_of,
)
from domain.orders import Order, OrderLine


def kit(sku: str, **components: int) -> Product:
    parts = tuple(KitComponent(sku=name, quantity=units) for name, units in components.items())
    return Product(sku=sku, components=parts)


PRODUCTS = {
    product.sku: product
    for product in (
        kit("TEA"),
        kit("CUP"),
        kit("BOX"),
        kit("SET", TEA=1, CUP=2),
        kit("HAMPER", SET=2, BOX=1, CUP=1),
        kit("ENDLESS", ENDLESS=1),
        kit("BROKEN", GONE=1),
    )
}


def line(**changes: Any) -> OrderLine:
    facts = {"line_id": "1", "sku": "SET", "quantity": 3, "unit_price": "10.00"}
    return OrderLine.model_validate(facts | changes)


def an_order(*lines: OrderLine) -> Order:
    return Order.model_validate(
        {
            "order_id": "W-1",
            "source": "shop",
            "external_id": "1",
            "currency": "USD",
            "placed_at": "2026-03-02T09:00:00Z",
            "ship_groups": [{"id": "1", "address": {"country": "US"}}],
            "lines": [x.model_dump(mode="json") for x in lines],
        }
    )


def test_a_product_that_is_no_kit_has_no_parts() -> None:
    assert parts_of(PRODUCTS["TEA"], PRODUCTS.get) == {}


def test_kits_in_kits_are_opened_and_the_same_component_is_counted_once() -> None:
    assert parts_of(PRODUCTS["HAMPER"], PRODUCTS.get) == {"TEA": 2, "CUP": 5, "BOX": 1}


@pytest.mark.parametrize(
    ("sku", "why"),
    [
        ("ENDLESS", "it holds kits in one another, more than 5 deep"),
        ("BROKEN", "its component 'GONE' is no product"),
    ],
)
def test_a_kit_that_cannot_be_opened_says_why(sku: str, why: str) -> None:
    with pytest.raises(KitError, match=why):
        parts_of(PRODUCTS[sku], PRODUCTS.get)


def test_a_kits_line_becomes_lines_of_its_components_with_all_its_money_on_the_first() -> None:
    sent = line(discount="1.50", tax="2.10", ship_group="9", attributes={"gift": True})

    first, second = broken(sent, 3, {"TEA": 2, "CUP": 1}, 2)

    as_ordered = {"sku": "SET", "quantity": 3, "uom": "EA", "unit_price": "10.00", "kits": 3}
    assert first == OrderLine(
        line_id="1-k1",
        external_line_id="1",
        ship_group="9",
        sku="TEA",
        quantity=6,
        unit_price=Decimal("5.00"),
        discount=Decimal("1.50"),
        tax=Decimal("2.10"),
        parent_line_id="1",
        keep_together="1-k1",
        attributes={"gift": True, "as_ordered": as_ordered},
    )
    assert second == first.model_copy(
        update={
            "line_id": "1-k2",
            "sku": "CUP",
            "quantity": 3,
            "unit_price": Decimal(0),
            "discount": Decimal(0),
            "tax": Decimal(0),
        }
    )


def test_what_the_shop_said_of_a_kits_line_is_kept() -> None:
    lines = broken(line(keep_together="gift", external_line_id="L-7"), 3, {"TEA": 1}, 2)

    assert [(x.keep_together, x.external_line_id) for x in lines] == [("gift", "L-7")]


@given(
    quantity=st.integers(1, 1_000),
    each=st.integers(1, 1_000),
    minor=st.integers(0, 10**8),
    places=st.sampled_from([0, 2, 3]),
)
def test_the_total_of_a_kits_line_never_changes(
    quantity: int, each: int, minor: int, places: int
) -> None:
    price = Decimal(minor).scaleb(-places)

    lines = broken(line(quantity=quantity, unit_price=price), quantity, {"A": each, "B": 1}, places)

    paid = sum(x.unit_price * x.quantity - x.discount for x in lines)
    assert paid == price * quantity
    assert all(x.unit_price == round(x.unit_price, places) for x in lines)
    assert all(x.discount == round(x.discount, places) for x in lines)


def test_ids_and_quantities_out_of_bounds_are_refused() -> None:
    with pytest.raises(KitError, match="the id of a component's line, is too long"):
        component_ids("x" * 62, {"TEA": 1})
    with pytest.raises(KitError, match="1000002 base units are more than 1000000"):
        units_of({"TEA": 1, "CUP": 2}, 500_001)


def test_an_order_tells_how_many_kits_were_ordered_and_keeps_lines_of_their_own() -> None:
    wrapping = line(line_id="2", sku="BOX", quantity=1, parent_line_id="1")
    named_alike = line(line_id="2-k1", sku="BOX", quantity=1, parent_line_id="2")

    order = an_order(*broken(line(), 3, {"TEA": 1, "CUP": 2}, 2), wrapping, named_alike)

    assert ordered_kits(order) == {"1": OrderedKit(3, {"1-k1": 1, "1-k2": 2})}
