"""Which orders, products and nodes a part of a routing policy is about."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from domain.catalogue import Product
from domain.network import NodeKind
from domain.orders import Method, OrderType, ServiceLevel
from domain.routing.decision import DecisionRequest, RequestLine
from domain.routing.money import micros
from domain.values import Count, Id, Model, PositiveMoney, Text

Scalar = bool | int | Text


def _as_list(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, bool | int | str) for one in values):
        raise ValueError("must be text, a whole number, true or false, or a list of these")
    return values


Values = Annotated[tuple[Scalar, ...], BeforeValidator(_as_list), Field(min_length=1)]
"""One value or a list of them, any of which will do."""
AttributeMatch = dict[Id, Values]


def has_attributes(wanted: Mapping[str, tuple[Scalar, ...]], known: Mapping[str, Any]) -> bool:
    """Whether each wanted attribute is there with one of its values; a list holds each of its."""
    return all(has_value(known.get(key), values) for key, values in wanted.items())


def has_value(found: Any, values: Iterable[Scalar]) -> bool:
    """Whether a value, or one of a list of them, is among those."""
    texts = {_text(value) for value in values}
    present = found if isinstance(found, list | tuple) else (found,)
    return any(one is not None and _text(one) in texts for one in present)


def _text(value: Any) -> str:
    """Documents write yes and 1 in several ways: compared as text, `true` is no 1."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class ProductMatch(Model):
    """Products that fit every part given; in a kit, one component that fits will do."""

    skus: tuple[Id, ...] = ()
    categories: tuple[Text, ...] = ()
    hazards: tuple[Text, ...] = ()
    hazardous: bool | None = None
    """true: any hazard; false: none."""
    heavier_than_grams: Count | None = None
    longer_than_mm: Count | None = None
    """Of the longest side."""
    attributes: AttributeMatch = Field(default_factory=dict)

    def holds(self, product: Product) -> bool:
        """Whether the product itself fits."""
        longest = max(product.length_mm, product.width_mm, product.height_mm)
        return (
            (not self.skus or product.sku in self.skus)
            and (not self.categories or product.category in self.categories)
            and (not self.hazards or product.hazard in self.hazards)
            and (self.hazardous is None or self.hazardous == bool(product.hazard))
            and (self.heavier_than_grams is None or product.weight_grams > self.heavier_than_grams)
            and (self.longer_than_mm is None or longest > self.longer_than_mm)
            and has_attributes(self.attributes, product.attributes)
        )

    def holds_sku(self, sku: str, products: Mapping[str, Product]) -> bool:
        """Whether the product, or a component of it, fits; one unknown has its SKU alone."""
        product = products.get(sku) or Product.model_construct(sku=sku)
        parts = [products[x.sku] for x in product.components if x.sku in products]
        return any(self.holds(one) for one in (product, *parts))


class NodeMatch(Model):
    """Nodes that fit every part given."""

    nodes: tuple[Id, ...] = ()
    kinds: tuple[NodeKind, ...] = ()
    attributes: AttributeMatch = Field(default_factory=dict)


class Condition(Model):
    """Orders for which every part given holds; of a list, one value will do. Empty: all orders."""

    brands: tuple[Text, ...] = ()
    regions: tuple[Text, ...] = ()
    channels: tuple[Text, ...] = ()
    order_types: tuple[OrderType, ...] = ()
    tiers: tuple[Text, ...] = ()
    methods: tuple[Method, ...] = ()
    """Of any of the order's ship groups; so are the next three."""
    service_levels: tuple[ServiceLevel, ...] = ()
    destination_countries: tuple[Text, ...] = ()
    destination_regions: tuple[Text, ...] = ()
    value_at_least: PositiveMoney | None = None
    """Unit price x quantity of all lines, in the base currency, before discounts and tax."""
    value_below: PositiveMoney | None = None
    units_at_least: Count | None = None
    """Units that are routed now."""
    units_below: Count | None = None
    any_line: ProductMatch | None = None
    every_line: ProductMatch | None = None

    @model_validator(mode="after")
    def _fits_some_order(self) -> Self:
        for name in ("value", "units"):
            least, below = getattr(self, f"{name}_at_least"), getattr(self, f"{name}_below")
            if least is not None and below is not None and below <= least:
                raise ValueError(f"{name}_below: fits no order: give more than {name}_at_least")
        return self

    def holds(self, request: DecisionRequest, products: Mapping[str, Product]) -> bool:
        """Whether the strategy is for this order."""
        return (
            _among(request.brand, self.brands)
            and _among(request.region, self.regions)
            and _among(request.channel, self.channels)
            and _among(request.order_type, self.order_types)
            and _among(request.tier, self.tiers)
            and self._holds_of_groups(request)
            and self._holds_of_sizes(request)
            and self._holds_of_lines(request.lines, products)
        )

    def _holds_of_groups(self, request: DecisionRequest) -> bool:
        used = {line.ship_group for line in request.lines}
        groups = [group for group in request.groups if group.group_id in used]
        places = [group.destination for group in groups if group.destination is not None]
        return (
            _any_among([group.method for group in groups], self.methods)
            and _any_among([group.service_level for group in groups], self.service_levels)
            and _any_among([place.country for place in places], self.destination_countries)
            and _any_among([place.region for place in places], self.destination_regions)
        )

    def _holds_of_sizes(self, request: DecisionRequest) -> bool:
        units = sum(line.quantity for line in request.lines)
        return (
            self._fits_value(value_of(request))
            and (self.units_at_least is None or units >= self.units_at_least)
            and (self.units_below is None or units < self.units_below)
        )

    def _fits_value(self, value: int) -> bool:
        least, below = self.value_at_least, self.value_below
        return (least is None or value >= micros(least)) and (
            below is None or value < micros(below)
        )

    def _holds_of_lines(
        self, lines: tuple[RequestLine, ...], products: Mapping[str, Product]
    ) -> bool:
        some, every = self.any_line, self.every_line
        return (some is None or any(some.holds_sku(x.sku, products) for x in lines)) and (
            every is None or all(every.holds_sku(x.sku, products) for x in lines)
        )


def value_of(request: DecisionRequest) -> int:
    """Micros of the order's goods: of the whole order where that is known, else of these lines."""
    if request.order_value_micros is not None:
        return request.order_value_micros
    return sum(line.unit_price_micros * line.quantity for line in request.lines)


def _among(value: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or value in allowed


def _any_among(values: Iterable[str], allowed: tuple[str, ...]) -> bool:
    return not allowed or any(value in allowed for value in values)


def exact(value: Any) -> Decimal | None:
    """A number that stands in an attribute, as text or as such; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() else None
