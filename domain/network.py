"""The fulfillment network: nodes, calendars, carrier services, and who runs each node."""

from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field

from domain.money import CountryCode, CurrencyCode
from domain.orders import ServiceLevel
from domain.values import Count, Id, Model, PositiveMoney, Text, UtcTime


class NodeKind(StrEnum):
    """What sort of place holds the stock."""

    DC = "dc"
    STORE = "store"
    SUPPLIER = "supplier"
    THREEPL = "threepl"


class ConnectionClass(StrEnum):
    """The class of outside system a connection speaks to; `NONE` is work done in doms itself."""

    CAPTURE = "capture"
    WMS = "wms"
    POS = "pos"
    THREEPL = "threepl"
    CARRIER = "carrier"
    NONE = "none"


class FeedMeaning(StrEnum):
    """Whether a stock feed counts what lies there or what is left after open demand."""

    PHYSICAL = "physical"
    NET = "net"


class Decrement(StrEnum):
    """When the node's own system takes units off its stock."""

    AT_PICK = "pick"
    AT_SHIP = "ship"


class Connection(Model):
    """One account at one outside system. The secret's name, never the secret, stands here."""

    connection_id: Id
    kind: ConnectionClass
    vendor: Id
    base_url: str = ""
    secret_env: str | None = None
    calls_per_second: float | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def task_queue(self) -> str:
        """The Temporal task queue of calls to this connection."""
        return f"doms-{self.kind}-{self.connection_id}"


@cache
def _zones() -> frozenset[str]:
    # The list is read from thousands of files: once is enough.
    return frozenset(available_timezones())


def _known_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError(f"'{name}' is no IANA time zone, such as America/New_York")
    return name


class Place(Model):
    """A point, with the region, country and postal code that tariffs and zones look at."""

    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    region: Text = ""
    country: CountryCode
    postal_code: Text = ""


class WorkingHours(Model):
    """Work days (0 Monday to 6 Sunday), opening hours and holidays, all in the node's own zone."""

    days: tuple[Annotated[int, Field(ge=0, le=6)], ...] = (0, 1, 2, 3, 4)
    opens: time = time(8)
    closes: time = time(18)
    cutoff: time = time(14)
    """Orders released later than this are worked on the next work day."""
    holidays: tuple[date, ...] = ()


class CarrierService(Model):
    """A carrier's service as a node may use it; tariff in the base currency.

    cost = base + per_kg x kilograms + per_km x kilometres; transit in calendar days grows with
    distance: `transit_days` plus one per `km_per_day` kilometres begun beyond the first.
    """

    service_id: Id
    connection_id: Id
    carrier: Text
    level: ServiceLevel
    base: PositiveMoney
    per_kg: PositiveMoney = Decimal(0)
    per_km: PositiveMoney = Decimal(0)
    transit_days: Count = 1
    km_per_day: Annotated[int, Field(ge=1)] = 800
    max_km: Annotated[int, Field(ge=1)] | None = None
    pickup_at: time = time(17)
    """When the carrier collects at the node, in its zone, on its work days."""


class Node(Model):
    """A place that holds stock. Costs in `currency`; capacity per local work date."""

    node_id: Id
    kind: NodeKind
    name: Text = ""
    place: Place
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    hours: WorkingHours = WorkingHours()
    processing_minutes: Count = 120
    daily_units: Count = 1_000
    daily_orders: Count = 500
    currency: CurrencyCode = "USD"
    cost_per_order: PositiveMoney = Decimal("1.00")
    cost_per_unit: PositiveMoney = Decimal("0.50")
    services: tuple[Id, ...] = ()
    connection_id: Id | None = None
    """The connection that runs the node; None: its people work in doms (`/v1/nodes/{id}/work`)."""
    feed_meaning: FeedMeaning = FeedMeaning.PHYSICAL
    decrement: Decrement = Decrement.AT_SHIP
    offers_pickup: bool = False
    ships: bool = True
    active: bool = True
    offline_until: UtcTime | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        """The node's time zone."""
        return ZoneInfo(self.time_zone)


class DistributionGroup(Model):
    """A named set of nodes: those listed, and those of the kinds and regions given.

    With kinds and regions both, a node must fit both; with neither, only the listed ones belong.
    """

    group_id: Id
    nodes: tuple[Id, ...] = ()
    kinds: tuple[NodeKind, ...] = ()
    regions: tuple[Text, ...] = ()

    def holds(self, node: Node) -> bool:
        """Whether the node belongs to the group."""
        if node.node_id in self.nodes:
            return True
        if not self.kinds and not self.regions:
            return False
        return (not self.kinds or node.kind in self.kinds) and (
            not self.regions or node.place.region in self.regions
        )


class Network(Model):
    """All that a sample or deployment configures of places and connections."""

    base_currency: CurrencyCode = "USD"
    connections: tuple[Connection, ...] = ()
    services: tuple[CarrierService, ...] = ()
    nodes: tuple[Node, ...] = ()
    groups: tuple[DistributionGroup, ...] = ()
