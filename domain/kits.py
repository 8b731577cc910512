"""Kits in orders: a kit is on no shelf, so its line becomes lines of what it is made of.

A component's line is `{line}-k{number}` with the kit's line as its parent, whether or not the order
has a line of that id. The components of a line stay together unless the line says with what else.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from domain.catalogue import KitComponent, Product
from domain.orders import AS_ORDERED, Order, OrderLine
from domain.values import ID_PATTERN, MAX_QUANTITY

MOST_NESTED = 5
"""Kits in one another."""


class KitError(ValueError):
    """A kit that cannot be broken into its components."""


def parts_of(product: Product, find: Callable[[str], Product | None]) -> dict[str, int]:
    """SKU -> base units in one kit, opened down to products that are no kits; empty for no kit.

    `find` knows the components' products. Raises KitError for a component that is no product and
    for kits in one another without end.
    """
    parts: dict[str, int] = {}
    _open(product.components, 1, 1, find, parts)
    return parts


def _open(
    components: tuple[KitComponent, ...],
    kits: int,
    depth: int,
    find: Callable[[str], Product | None],
    parts: dict[str, int],
) -> None:
    if depth > MOST_NESTED:
        raise KitError(f"it holds kits in one another, more than {MOST_NESTED} deep")
    for component in components:
        product = find(component.sku)
        if product is None:
            raise KitError(f"its component '{component.sku}' is no product")
        units = kits * component.quantity
        if product.components:
            _open(product.components, units, depth + 1, find, parts)
        else:
            parts[component.sku] = parts.get(component.sku, 0) + units


def component_ids(line_id: str, parts: Mapping[str, int]) -> tuple[str, ...]:
    """The ids of a kit line's components. Raises KitError when they are longer than an id is."""
    ids = tuple(f"{line_id}-k{number}" for number in range(1, len(parts) + 1))
    if not re.match(ID_PATTERN, ids[-1]):
        raise KitError(f"'{ids[-1]}', the id of a component's line, is too long")
    return ids


def units_of(parts: Mapping[str, int], kits: int) -> tuple[int, ...]:
    """Base units of each component in so many kits. Raises KitError when they are too many."""
    units = tuple(each * kits for each in parts.values())
    if max(units) > MAX_QUANTITY:
        raise KitError(f"{max(units)} base units are more than {MAX_QUANTITY}")
    return units


def together_of(line_id: str, keep_together: str | None) -> str:
    """What keeps a kit line's components at one node; no other line is kept with them by chance."""
    return keep_together or f"{line_id}-k1"


def priced(line: OrderLine, quantity: int, places: int) -> dict[str, Any]:
    """Changes that give the line that many units and the same total.

    A price that does not divide into whole minor units (of that many decimal places) is rounded up
    and the excess goes to the discount.
    """
    total = line.unit_price * line.quantity
    unit_price = Decimal(-(-int(total.scaleb(places)) // quantity)).scaleb(-places)
    excess = unit_price * quantity - total
    return {
        "quantity": quantity,
        "unit_price": unit_price,
        "discount": line.discount + excess,
    }


def broken(
    line: OrderLine, kits: int, parts: Mapping[str, int], places: int
) -> tuple[OrderLine, ...]:
    """The line of so many kits, as sent, as lines of its components; all its money on the first.

    Raises KitError when ids or quantities would be out of bounds.
    """
    ids = component_ids(line.line_id, parts)
    units = units_of(parts, kits)
    as_ordered = {
        "sku": line.sku,
        "quantity": line.quantity,
        "uom": line.ordered_uom,
        "unit_price": str(line.unit_price),
        "kits": kits,
    }
    shared = {
        "external_line_id": line.external_line_id or line.line_id,
        "parent_line_id": line.line_id,
        "keep_together": together_of(line.line_id, line.keep_together),
        "ordered_uom": "EA",
        "attributes": {**line.attributes, AS_ORDERED: as_ordered},
    }
    nothing = {"unit_price": Decimal(0), "discount": Decimal(0), "tax": Decimal(0)}
    return tuple(
        line.model_copy(
            update={
                **shared,
                "line_id": line_id,
                "sku": sku,
                **({"quantity": quantity, **nothing} if n else priced(line, quantity, places)),
            }
        )
        for n, (line_id, sku, quantity) in enumerate(zip(ids, parts, units, strict=True))
    )


class OrderedKit(NamedTuple):
    """A kit line of an order: how many kits, and the units of each component's line in one."""

    kits: int
    each: dict[str, int]


def ordered_kits(order: Order) -> dict[str, OrderedKit]:
    """Kit line id -> what was ordered there, of an order whose kits are broken."""
    own = {line.line_id for line in order.lines}
    found: dict[str, OrderedKit] = {}
    for line in order.lines:
        if line.parent_line_id is not None and line.parent_line_id not in own and line.is_component:
            kits = int(line.attributes[AS_ORDERED]["kits"])
            kit = found.setdefault(line.parent_line_id, OrderedKit(kits, {}))
            kit.each[line.line_id] = line.quantity // kits
    return found
