"""The sample network, catalogue, stock and policies (config/sample/), and files like them."""

from decimal import Decimal
from functools import cache
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from config.policy_files import PolicyFile, load_policy
from config.reading import ConfigError, describe, read_yaml
from domain.catalogue import Product
from domain.money import CurrencyCode
from domain.network import Network
from domain.values import Count, Id, Model, PositiveMoney

SAMPLE = Path(__file__).parent / "sample"

_PRODUCTS = TypeAdapter(tuple[Product, ...])
_STOCK = TypeAdapter(dict[Id, dict[Id, Count]])


class ExchangeRates(Model):
    """`rates`: units of `base` for one unit of each other currency."""

    base: CurrencyCode
    rates: dict[CurrencyCode, PositiveMoney] = Field(default_factory=dict)

    def into(self, currency: str) -> dict[str, Decimal]:
        """The same rates seen from another base: units of `currency` for one unit of each.

        Raises ConfigError when that currency has no rate here.
        """
        known = {**self.rates, self.base: Decimal(1)}
        if currency not in known:
            raise ConfigError(f"no exchange rate between {self.base} and {currency}: add one")
        return {
            code: (rate / known[currency]).quantize(Decimal("0.00000001"))
            for code, rate in known.items()
        }


class Stocking(Model):
    """Usable units counted at a node."""

    node_id: Id
    sku: Id
    quantity: Count


class Sample(Model):
    """Everything a first start needs."""

    network: Network
    products: tuple[Product, ...]
    stock: tuple[Stocking, ...]
    policies: tuple[PolicyFile, ...]


def load_network(path: Path = SAMPLE / "network.yaml") -> Network:
    """The network in that file, its references checked. Raises ConfigError."""
    try:
        network = Network.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
    check_network(network, str(path))
    return network


def check_network(network: Network, where: str) -> None:
    """Raise ConfigError when an id repeats, or a connection or service is not defined.

    A group may name nodes that were imported before.
    """
    connections = [one.connection_id for one in network.connections]
    services = [one.service_id for one in network.services]
    nodes = [one.node_id for one in network.nodes]
    groups = [one.group_id for one in network.groups]
    for what, ids in (
        ("connection", connections),
        ("service", services),
        ("node", nodes),
        ("group", groups),
    ):
        for repeated in sorted({one for one in ids if ids.count(one) > 1}):
            raise ConfigError(f"{where}: {what} '{repeated}' stands more than once")
    for service in network.services:
        if service.connection_id not in connections:
            raise ConfigError(
                f"{where}: service '{service.service_id}' names no known connection "
                f"'{service.connection_id}'"
            )
    for node in network.nodes:
        if node.connection_id is not None and node.connection_id not in connections:
            raise ConfigError(
                f"{where}: node '{node.node_id}' names no known connection '{node.connection_id}'"
            )
        unknown = sorted(set(node.services) - set(services))
        if unknown:
            raise ConfigError(
                f"{where}: node '{node.node_id}' names no known service '{unknown[0]}'"
            )


def load_products(path: Path = SAMPLE / "products.yaml") -> tuple[Product, ...]:
    """The catalogue in that file. Raises ConfigError."""
    try:
        return _PRODUCTS.validate_python(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error


def load_stock(path: Path = SAMPLE / "stock.yaml") -> tuple[Stocking, ...]:
    """The stock in that file, as SKU -> node -> usable units. Raises ConfigError."""
    try:
        by_sku = _STOCK.validate_python(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
    return tuple(
        Stocking(node_id=node_id, sku=sku, quantity=quantity)
        for sku, nodes in by_sku.items()
        for node_id, quantity in nodes.items()
    )


@cache
def load_exchange_rates(path: Path = SAMPLE / "exchange_rates.yaml") -> ExchangeRates:
    """The rates in that file. Raises ConfigError."""
    try:
        return ExchangeRates.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error


def load_sample(*, fast: bool = False) -> Sample:
    """The sample as shipped; `fast` takes the process policies whose waits are seconds."""
    process = SAMPLE / "demo" if fast else SAMPLE
    policies = (
        load_policy(SAMPLE / "routing.yaml"),
        load_policy(process / "process-b2c.yaml"),
        load_policy(process / "process-b2b.yaml"),
    )
    return Sample(
        network=load_network(), products=load_products(), stock=load_stock(), policies=policies
    )
