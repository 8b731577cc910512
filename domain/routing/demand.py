"""What one ship group asks for: its lines as atoms, each of which one node serves whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from domain.catalogue import KitComponent, Product
from domain.routing.decision import Assignment, DecisionRequest, RequestGroup, RequestLine
from domain.routing.facts import Ints
from domain.routing.policy import RoutingPolicy


@dataclass(frozen=True, slots=True)
class Atom:
    """Lines that one node must serve together; usually one line."""

    lines: tuple[int, ...]
    """Positions of the lines in the group."""
    units: int
    grams: int
    needs: tuple[tuple[int, int], ...]
    """(index of the SKU in `Demand.skus`, units)."""
    may_split: bool


@dataclass(frozen=True, slots=True)
class Demand:
    """A group's lines; a kit asks for its components, all from one node."""

    lines: tuple[RequestLine, ...]
    atoms: tuple[Atom, ...]
    skus: tuple[str, ...]
    asked: tuple[int, ...]
    """By SKU: units that all lines ask for together."""
    parts: tuple[tuple[tuple[int, int], ...], ...]
    """By line: (index of the SKU, units for one unit of the line)."""
    grams: tuple[int, ...]
    """By line: weight of one unit."""
    one_shipment: bool
    assignments: dict[tuple[int, int], Assignment] = field(default_factory=dict)
    """(line, units) -> how a decision records them; filled as plans are made."""

    @property
    def units(self) -> int:
        """All units asked."""
        return sum(atom.units for atom in self.atoms)

    def needs(self) -> Ints:
        """Shape (atoms, SKUs)."""
        table = np.zeros((len(self.atoms), len(self.skus)), dtype=np.int64)
        for number, atom in enumerate(self.atoms):
            for index, units in atom.needs:
                table[number, index] = units
        return table


def demand_of(
    request: DecisionRequest,
    group: RequestGroup,
    lines: tuple[RequestLine, ...],
    products: Mapping[str, Product],
    policy: RoutingPolicy,
) -> Demand:
    """The group's demand under that policy."""
    one_shipment = group.ship_complete or not request.allow_split
    components = [components_of(line.sku, products) for line in lines]
    skus = tuple(dict.fromkeys(part.sku for parts in components for part in parts))
    index = {sku: position for position, sku in enumerate(skus)}
    parts = tuple(tuple((index[x.sku], x.quantity) for x in found) for found in components)
    asked = [0] * len(skus)
    for line, pieces in zip(lines, parts, strict=True):
        for sku, each in pieces:
            asked[sku] += each * line.quantity
    grams = tuple(_grams(line.sku, products) for line in lines)
    bundles: dict[tuple[str, str], list[int]] = {}
    for position, line in enumerate(lines):
        if one_shipment:
            key = ("group", "")
        elif line.keep_together is not None:
            key = ("together", line.keep_together)
        else:
            key = ("line", line.line_id)
        bundles.setdefault(key, []).append(position)
    splits = policy.allow_line_split and request.allow_split
    atoms = tuple(
        _atom(lines, tuple(positions), parts, grams, may_split=splits and kind == "line")
        for (kind, _), positions in bundles.items()
    )
    return Demand(lines, atoms, skus, tuple(asked), parts, grams, one_shipment)


def components_of(sku: str, products: Mapping[str, Product]) -> tuple[KitComponent, ...]:
    """What one unit takes from the shelves: a kit's components, else the product itself."""
    product = products.get(sku)
    if product is None or not product.components:
        return (KitComponent.model_construct(sku=sku, quantity=1),)
    return product.components


def _grams(sku: str, products: Mapping[str, Product]) -> int:
    """Weight of one unit; a kit without a weight of its own weighs what is in it."""
    product = products.get(sku)
    if product is None:
        return 0
    if product.weight_grams or not product.components:
        return product.weight_grams
    return sum(
        products[part.sku].weight_grams * part.quantity
        for part in product.components
        if part.sku in products
    )


def _atom(
    lines: tuple[RequestLine, ...],
    positions: tuple[int, ...],
    parts: tuple[tuple[tuple[int, int], ...], ...],
    grams: tuple[int, ...],
    *,
    may_split: bool,
) -> Atom:
    needs: dict[int, int] = {}
    for position in positions:
        for sku, each in parts[position]:
            needs[sku] = needs.get(sku, 0) + each * lines[position].quantity
    return Atom(
        lines=positions,
        units=sum(lines[x].quantity for x in positions),
        grams=sum(lines[x].quantity * grams[x] for x in positions),
        needs=tuple(needs.items()),
        may_split=may_split,
    )
