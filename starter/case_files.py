"""What cases of every kind of policy share: their world, their orders, and how they came out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.reading import ConfigError, describe
from config.samples import SAMPLE, load_exchange_rates, load_network, load_products
from domain.catalogue import Product
from domain.network import Network
from domain.orders import Order
from domain.values import Model, Text


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `wrong` says, line by line, what came out differently."""

    name: str
    wrong: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.wrong

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {"name": self.name, "passed": self.passed, "wrong": list(self.wrong)}


class CaseFile(Model):
    """The head of a file of cases. Files are named relative to it; without: the sample's."""

    policy: Text
    network: Text = ""
    products: Text = ""


@dataclass(frozen=True)
class World:
    """Nodes and products in which the cases of the file `where` play."""

    network: Network
    products: Mapping[str, Product]
    where: str

    @property
    def rates(self) -> dict[str, str]:
        """Units of the base currency for one unit of each other."""
        rates = load_exchange_rates().into(self.network.base_currency)
        return {code: str(rate) for code, rate in rates.items()}


def world_of(head: CaseFile, path: Path) -> World:
    """The world that the head of the file at `path` names. Raises ConfigError."""
    beside = path.parent
    network = load_network(beside / head.network if head.network else SAMPLE / "network.yaml")
    products = load_products(beside / head.products if head.products else SAMPLE / "products.yaml")
    return World(network, {product.sku: product for product in products}, str(path))


def order_of(name: str, document: Mapping[str, Any], at: datetime, world: World) -> Order:
    """The order of that case, with what cases do not look at filled in. Raises ConfigError."""
    lines = [
        {"line_id": str(number), "unit_price": "0", **line}
        for number, line in enumerate(document.get("lines", ()), start=1)
    ]
    whole = {
        "order_id": "case",
        "source": "cases",
        "external_id": "case",
        "currency": world.network.base_currency,
        "placed_at": at,
        **document,
        "lines": lines,
    }
    try:
        order = Order.model_validate(whole)
    except ValidationError as error:
        raise ConfigError(f"{world.where}: case '{name}': {describe(error)}") from error
    refuse_unknown(name, "product", {line.sku for line in order.lines} - set(world.products), world)
    return order


def refuse_unknown(name: str, what: str, unknown: set[str], world: World) -> None:
    """Raise ConfigError when a case names what its world has not."""
    if unknown:
        raise ConfigError(
            f"{world.where}: case '{name}': no {what} '{min(unknown)}' in the network"
        )
