"""What one ship group asks for: its lines as atoms, each of which one node serves whole."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from domain.catalogue import KitComponent, Product
from domain.routing.decision import Assignment, DecisionRequest, RequestGroup, RequestLine
from domain.routing.facts import Ints
from domain.routing.policy import RoutingPolicy
from domain.routing.strategy import Constraints


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
    dropped: Collection[str] = (),
) -> Demand:
    """The group's demand under that policy, but for the limits that are dropped."""
    rules = policy.constraints
    is_whole = rules.ship_complete and "ship_complete" not in dropped
    one_shipment = group.ship_complete or not request.allow_split or is_whole
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
    if (rules.keep_together or rules.keep_together_by) and "keep_together" not in dropped:
        bundles = _joined(bundles, _kept_together(lines, products, rules))
    splits = policy.allow_line_split or "allow_line_split" in dropped
    never = rules.never_split if "never_split" not in dropped else None
    atoms = tuple(
        _atom(
            lines,
            tuple(positions),
            parts,
            grams,
            may_split=splits
            and request.allow_split
            and kind == "line"
            and (never is None or not never.holds_sku(lines[positions[0]].sku, products)),
        )
        for (kind, _), positions in bundles.items()
    )
    return Demand(lines, atoms, skus, tuple(asked), parts, grams, one_shipment)


def _kept_together(
    lines: tuple[RequestLine, ...], products: Mapping[str, Product], rules: Constraints
) -> list[list[int]]:
    """Positions of lines that the policy keeps together."""
    sets = [
        [x for x, line in enumerate(lines) if match.holds_sku(line.sku, products)]
        for match in rules.keep_together
    ]
    for name in rules.keep_together_by:
        by_value: dict[str, list[int]] = {}
        for position, line in enumerate(lines):
            product = products.get(line.sku)
            if product is not None:
                value = product.category if name == "category" else product.attributes.get(name, "")
                if value != "":
                    by_value.setdefault(str(value), []).append(position)
        sets += by_value.values()
    return [positions for positions in sets if positions]


def _joined(
    bundles: Mapping[tuple[str, str], list[int]], sets: list[list[int]]
) -> dict[tuple[str, str], list[int]]:
    """The bundles, those joined that a set has lines of, in the order of their first lines."""
    pieces = list(bundles.items())
    for positions in sets:
        touched = [piece for piece in pieces if set(piece[1]) & set(positions)]
        joined = sorted(x for _, lines in touched for x in lines)
        kept = [piece for piece in pieces if piece not in touched]
        pieces = [*kept, (("together", str(joined[0])), joined)]
    pieces.sort(key=lambda piece: piece[1][0])
    return {(kind, f"{number}"): lines for number, ((kind, _), lines) in enumerate(pieces)}


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
