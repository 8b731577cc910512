"""How a simulator behaves and misbehaves: settings that a test or a demo turns at run time."""

from collections.abc import Iterable
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import Field

from domain.events import ShortReason
from domain.orders import ServiceLevel
from domain.values import Count, Id, Model, PositiveMoney, Text

Chance = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000)]

STEP_SECONDS = {
    "accept": 1.0,
    "pick": 2.0,
    "pack": 1.0,
    "hand_over": 1.0,
    "ready": 1.0,
    "collect": 3.0,
    "answer_cancel": 1.0,
    "transit": 2.0,
    "out_for_delivery": 1.0,
    "deliver": 2.0,
}
"""How long each step takes at time_scale 1."""


class Tariff(Model):
    """A carrier's list price of one service: base + per_kg x kg + per_km x km, and its days."""

    carrier: Text = "Simulated Parcel"
    level: ServiceLevel = ServiceLevel.STANDARD
    base: PositiveMoney = Decimal("4.20")
    per_kg: PositiveMoney = Decimal("0.60")
    per_km: PositiveMoney = Decimal("0.0010")
    delivery_days: Count = 2


def _tariffs() -> dict[str, Tariff]:
    return {
        "standard": Tariff(),
        "express": Tariff(
            level=ServiceLevel.EXPRESS,
            base=Decimal("11.50"),
            per_kg=Decimal("1.40"),
            per_km=Decimal("0.0022"),
            delivery_days=1,
        ),
        "same_day": Tariff(
            carrier="Simulated Courier",
            level=ServiceLevel.SAME_DAY,
            base=Decimal("9.00"),
            per_kg=Decimal("0.80"),
            per_km=Decimal("0.15"),
            delivery_days=0,
        ),
    }


class Knobs(Model):
    """Everything that can be turned. Rates are chances from 0 to 1, drawn anew per reference.

    A draw depends only on `seed`, the knob and the reference, so a run can be repeated.
    """

    seed: int = 0
    time_scale: Seconds = 1.0
    """Multiplies all durations below; 0 does every step at once."""
    step_seconds: dict[str, Seconds] = Field(default_factory=dict)
    """Durations of single steps, instead of the default ones."""

    latency_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    error_rate: Chance = 0.0
    """Requests answered with 500 before anything is done; drawn anew for each try."""
    rate_limit_per_second: Annotated[float, Field(gt=0)] | None = None
    retry_after: Seconds = 1.0
    """Seconds in the Retry-After header of a 429 or of an outage's 503."""
    lost_answer_rate: Chance = 0.0
    """Work that is done while its first answer is lost: the caller gets `lost_answer_status`."""
    lost_answer_status: Annotated[int, Field(ge=500, le=599)] = 504
    outage: bool = False
    """Everything answers 503, and all work and all callbacks stand still until it is lifted."""

    duplicate_webhook_rate: Chance = 0.0
    late_webhook_rate: Chance = 0.0
    """Callbacks that wait `late_seconds`, and hold back those behind them."""
    late_seconds: Seconds = 5.0
    out_of_order_rate: Chance = 0.0
    """Callbacks that wait `out_of_order_seconds` and are overtaken by those behind them."""
    out_of_order_seconds: Seconds = 3.0

    rejection_rate: Chance = 0.0
    rejection_reason: Text = "no capacity today"
    silence_rate: Chance = 0.0
    """Orders of which nothing is ever heard again; a cancel is still answered."""
    short_rate: Chance = 0.0
    """Orders with one line picked short."""
    short_units: Annotated[int, Field(ge=1)] = 1
    short_reason: ShortReason | None = None
    """None: not_found or damaged, drawn per reference."""
    cancel_unknown_rate: Chance = 0.0
    cancel_pending_rate: Chance = 0.0
    no_show_rate: Chance = 0.0
    """Pick-ups that nobody collects."""
    units_per_package: Annotated[int, Field(ge=1)] = 10
    """The most units of a line that a third-party warehouse puts into one package."""

    lost_parcel_rate: Chance = 0.0
    returned_parcel_rate: Chance = 0.0
    parcel_exception_rate: Chance = 0.0
    """Parcels that meet an exception on their way and are delivered all the same."""
    undeliverable_postal_codes: tuple[str, ...] = ()
    tariffs: dict[Id, Tariff] = Field(default_factory=_tariffs)

    by_node: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Other values for one node, one SKU, one fulfillment id or one order id; later ones win."""
    by_sku: dict[str, dict[str, Any]] = Field(default_factory=dict)
    by_reference: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def has_overrides(self) -> bool:
        """Whether anything is set for single nodes, SKUs or references."""
        return bool(self.by_node or self.by_sku or self.by_reference)

    def seconds(self, step: str) -> float:
        """How long a step takes now."""
        return self.step_seconds.get(step, STEP_SECONDS[step]) * self.time_scale


def turned(current: Knobs, changes: dict[str, Any]) -> Knobs:
    """The knobs after some were set; overrides are checked too. Raises ValidationError."""
    knobs = Knobs.model_validate({**current.model_dump(), **changes})
    for overrides in (knobs.by_node, knobs.by_sku, knobs.by_reference):
        for values in overrides.values():
            _check_override(knobs, values)
    unknown = set(knobs.step_seconds) - set(STEP_SECONDS)
    if unknown:
        raise ValueError(f"step_seconds: no step '{min(unknown)}'; there are {list(STEP_SECONDS)}")
    return knobs


def _check_override(knobs: Knobs, values: dict[str, Any]) -> None:
    nested = {"by_node", "by_sku", "by_reference", "outage", "rate_limit_per_second"} & set(values)
    if nested:
        raise ValueError(f"'{min(nested)}' cannot be set for one node, SKU or reference")
    Knobs.model_validate({**knobs.model_dump(), **values})


def knobs_for(
    knobs: Knobs, *, reference: str = "", node_id: str = "", skus: Iterable[str] = ()
) -> Knobs:
    """The knobs as they stand for one order: by node, then SKU, then order id, then reference."""
    if not knobs.has_overrides:
        return knobs
    changes = dict(knobs.by_node.get(node_id, {}))
    for sku in skus:
        changes.update(knobs.by_sku.get(sku, {}))
    changes.update(knobs.by_reference.get(reference.rpartition("-")[0], {}))
    changes.update(knobs.by_reference.get(reference, {}))
    return Knobs.model_validate({**knobs.model_dump(), **changes}) if changes else knobs


def draw(seed: int, name: str, reference: str) -> float:
    """A number from 0 up to 1 that depends on nothing but its arguments."""
    digest = blake2b(f"{seed}/{name}/{reference}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def happens(knobs: Knobs, rate: str, reference: str) -> bool:
    """Whether the thing with that rate happens to that reference."""
    chance: float = getattr(knobs, rate)
    return chance > 0 and draw(knobs.seed, rate, reference) < chance
