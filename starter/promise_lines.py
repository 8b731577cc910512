"""What a caller asks a promise for, in the kernel's terms: base units, and kits' components.

Kits are broken as intake breaks them, so that what is promised and held is what an order reserves.
"""

from decimal import Decimal
from typing import NamedTuple

from domain import kits
from domain.catalogue import Product, UnknownUnitError, to_base_units
from domain.money import NoRateError, to_base
from domain.routing.decision import RequestLine
from domain.values import MAX_QUANTITY, MICROS
from starter.api.problems import FieldError, InvalidDocumentError
from starter.api.promise_body import MOST_ITEMS, PromiseBody, PromiseItem
from store.view import AvailabilityView


class Asked(NamedTuple):
    """The lines to decide, and of each component's line the item that is its kit."""

    lines: tuple[RequestLine, ...]
    kit_of: dict[str, str]


def asked_of(body: PromiseBody, view: AvailabilityView) -> Asked:
    """The items in base units and without kits, priced in the base currency.

    Raises InvalidDocumentError naming unknown SKUs, units, nodes and currencies.
    """
    errors = [
        FieldError(f"ship_groups.{position}.node_id", f"no node '{group.node_id}'")
        for position, group in enumerate(body.groups)
        if group.node_id is not None and group.node_id not in view.network.index
    ]
    lines: list[RequestLine] = []
    kit_of: dict[str, str] = {}
    for position, item in enumerate(body.items):
        product = view.product(item.sku)
        if product is None:
            errors.append(FieldError(f"items.{position}.sku", f"no product '{item.sku}'"))
            continue
        line_id = item.line_id or str(position + 1)
        try:
            found = _lines_of(line_id, item, product, _price(body, item, view), view)
        except UnknownUnitError as error:
            errors.append(FieldError(f"items.{position}.ordered_uom", str(error)))
            continue
        except NoRateError as error:
            raise InvalidDocumentError([FieldError("currency", str(error))]) from error
        except kits.KitError as error:
            errors.append(FieldError(f"items.{position}", f"the kit '{item.sku}': {error}"))
            continue
        except ValueError as error:
            errors.append(FieldError(f"items.{position}.quantity", str(error)))
            continue
        lines += found
        if product.components:
            kit_of |= {line.line_id: line_id for line in found}
    if len({line.line_id for line in lines}) != len(lines):
        errors.append(FieldError("items", "a line_id stands more than once"))
    if len(lines) > MOST_ITEMS:
        message = f"{len(lines)} with the components of kits: at most {MOST_ITEMS}"
        errors.append(FieldError("items", message))
    if errors:
        raise InvalidDocumentError(errors)
    return Asked(tuple(lines), kit_of)


def _price(body: PromiseBody, item: PromiseItem, view: AvailabilityView) -> Decimal:
    """What all units of the item cost."""
    network = view.network
    currency = body.currency or network.base_currency
    price = to_base(item.unit_price, currency, network.base_currency, network.exchange_rates)
    return price * item.quantity


def _lines_of(
    line_id: str, item: PromiseItem, product: Product, price: Decimal, view: AvailabilityView
) -> tuple[RequestLine, ...]:
    quantity = to_base_units(product, item.quantity, item.ordered_uom)
    parts = kits.parts_of(product, view.product)
    if not parts:
        if quantity > MAX_QUANTITY:
            raise ValueError(f"{quantity} base units are more than {MAX_QUANTITY}")
        return (_line(line_id, item, item.sku, quantity, item.keep_together, price),)
    ids, units = kits.component_ids(line_id, parts), kits.units_of(parts, quantity)
    together = kits.together_of(line_id, item.keep_together)
    prices = (price, *[Decimal(0)] * (len(parts) - 1))
    return tuple(
        _line(component_id, item, sku, count, together, share)
        for component_id, sku, count, share in zip(ids, parts, units, prices, strict=True)
    )


def _line(
    line_id: str,
    item: PromiseItem,
    sku: str,
    quantity: int,
    keep_together: str | None,
    price: Decimal,
) -> RequestLine:
    return RequestLine(
        line_id=line_id,
        sku=sku,
        quantity=quantity,
        ship_group=item.ship_group,
        keep_together=keep_together,
        unit_price_micros=int(price * MICROS / quantity),
    )
