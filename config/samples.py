"""The sample network, catalogue, stock and policies (config/sample/), and files like them."""

from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from config.wording import plain_words
from domain.catalogue import Product
from domain.errors import FinalError
from domain.money import CurrencyCode
from domain.network import Network
from domain.process_policy import ProcessPolicy
from domain.routing.policy import RoutingPolicy
from domain.values import Count, Id, Model, PositiveMoney

SAMPLE = Path(__file__).parent / "sample"

_PRODUCTS = TypeAdapter(tuple[Product, ...])
_STOCK = TypeAdapter(dict[Id, dict[Id, Count]])


class ConfigError(FinalError):
    """A configuration file cannot be read; the message names file and field."""


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


class PolicyFile(Model):
    """A policy with what it is for; a process policy is active for its own order types."""

    kind: Literal["routing", "process"]
    policy: RoutingPolicy | ProcessPolicy

    @property
    def document(self) -> dict[str, Any]:
        """The policy as plain JSON values, as it is published."""
        return self.policy.model_dump(mode="json")


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


def read_yaml(path: Path) -> Any:
    """The file's content. Raises ConfigError when it is absent or no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise ConfigError(f"{path}:{line} no YAML: {getattr(error, 'problem', error)}") from error


def mistakes(error: ValidationError) -> list[str]:
    """Every mistake pydantic found, as `path: message`."""
    return [
        f"{'.'.join(str(part) for part in one['loc']) or 'document'}: {plain_words(one)}"
        for one in error.errors()
    ]


def describe(error: ValidationError) -> str:
    """Every mistake pydantic found, in one line."""
    return "; ".join(mistakes(error))


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


def load_policy(path: Path, kind: str | None = None) -> PolicyFile:
    """The policy in that file; its kind is told by its fields unless given.

    Raises ConfigError with the field's path.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: a policy is a mapping that starts with `name:`")
    kind = kind or _kind_of(document)
    try:
        if kind == "routing":
            return PolicyFile(kind="routing", policy=RoutingPolicy.model_validate(document))
        if kind == "process":
            return PolicyFile(kind="process", policy=ProcessPolicy.model_validate(document))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
    raise ConfigError(f"{path}: a policy is 'routing' or 'process', not '{kind}'")


def _kind_of(document: dict[str, Any]) -> str:
    process_only = set(ProcessPolicy.model_fields) - set(RoutingPolicy.model_fields)
    return "process" if process_only & set(document) else "routing"


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
