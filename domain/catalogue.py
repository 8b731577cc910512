"""Products, and how a quantity in a selling unit becomes base units."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from domain.values import Count, Id, Model, PositiveMoney, Quantity, Text


class SupplyMode(StrEnum):
    """Where units come from: counted stock, without end, or made to order in some days."""

    STOCKED = "stocked"
    INFINITE = "infinite"
    LEAD_TIME = "lead_time"


class KitComponent(Model):
    """So many base units of a SKU in one kit."""

    sku: Id
    quantity: Quantity


class Product(Model):
    """A product. Weight in grams, dimensions in millimetres, unit cost in the base currency."""

    sku: Id
    name: Text = ""
    units: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: {"EA": 1})
    weight_grams: Count = 0
    length_mm: Count = 0
    width_mm: Count = 0
    height_mm: Count = 0
    unit_cost: PositiveMoney = Decimal(0)
    category: Text = ""
    hazard: Text | None = None
    components: tuple[KitComponent, ...] = ()
    supply_mode: SupplyMode = SupplyMode.STOCKED
    lead_time_days: Count = 0
    attributes: dict[str, Any] = Field(default_factory=dict)


class UnknownUnitError(ValueError):
    """A product is not sold in that unit of measure."""


def to_base_units(product: Product, quantity: int, uom: str) -> int:
    """Quantity in base units (a case of 12 is 12). Raises UnknownUnitError for an unlisted unit."""
    factor = 1 if uom == "EA" else product.units.get(uom)
    if factor is None:
        sold_in = ", ".join(sorted({"EA", *product.units}))
        raise UnknownUnitError(f"'{product.sku}' has no unit '{uom}'; it is sold in {sold_in}")
    return quantity * factor
