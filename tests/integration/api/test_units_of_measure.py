"""Whatever the unit and price: the line's total stays exactly what was sent."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import Product
from domain.orders import OrderLine
from starter.intake import in_base_units


@given(
    quantity=st.integers(1, 1_000),
    factor=st.integers(1, 1_000),
    minor=st.integers(0, 10**8),
    places=st.sampled_from([0, 2, 3]),
)
def test_the_total_of_a_line_never_changes(
    quantity: int, factor: int, minor: int, places: int
) -> None:
    price = Decimal(minor).scaleb(-places)
    line = OrderLine(line_id="1", sku="TEE", quantity=quantity, ordered_uom="CS", unit_price=price)

    based = in_base_units(line, Product(sku="TEE", units={"CS": factor}), places)

    assert based.quantity == quantity * factor
    assert based.unit_price * based.quantity - based.discount == price * quantity
    assert based.unit_price == round(based.unit_price, places)
    assert based.discount == round(based.discount, places)
    assert 0 <= based.discount < Decimal(based.quantity).scaleb(-places)
