"""Rules that keep stock back: safety stock of a position, and units protected for a channel.

A document of rules is data: validated here, versioned by its content, evaluated by plain functions.
Of each list the first rule that fits decides, so special rules stand before general ones.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Annotated

from pydantic import Field, model_validator

from domain.network import NodeKind
from domain.supply import SupplyType
from domain.values import Count, Id, Model, Text

Rate = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=4, allow_inf_nan=False)]
"""Units a day, or days."""
Percent = Annotated[int, Field(ge=0, le=100)]


@dataclass(frozen=True)
class Place:
    """What rules know of a position: the node, the product, and how fast it sells there."""

    node_id: str
    kind: NodeKind
    groups: frozenset[str]
    sku: str
    category: str
    sold_units: int = 0
    sold_days: int = 1
    """`sold_units` left the node in the last `sold_days` days."""

    @property
    def velocity(self) -> Decimal:
        """Units a day."""
        return Decimal(self.sold_units) / Decimal(self.sold_days)


class Match(Model):
    """Which positions a rule is for: all that is given must fit, an empty list fits all."""

    kinds: tuple[NodeKind, ...] = ()
    nodes: tuple[Id, ...] = ()
    groups: tuple[Id, ...] = ()
    categories: tuple[Text, ...] = ()
    skus: tuple[Id, ...] = ()
    velocity_from: Rate | None = None
    velocity_below: Rate | None = None
    """Units a day: at least `velocity_from`, less than `velocity_below`."""

    def fits(self, place: Place) -> bool:
        """Whether the rule is for that position."""
        return (
            (not self.kinds or place.kind in self.kinds)
            and (not self.nodes or place.node_id in self.nodes)
            and (not self.groups or not place.groups.isdisjoint(self.groups))
            and (not self.categories or place.category in self.categories)
            and (not self.skus or place.sku in self.skus)
            and (self.velocity_from is None or place.velocity >= self.velocity_from)
            and (self.velocity_below is None or place.velocity < self.velocity_below)
        )


class SafetyStockRule(Model):
    """Keep `units`, or what sells in `days_of_cover` where that is more; never above `at_most`."""

    when: Match = Match()
    units: Count = 0
    days_of_cover: Rate = Decimal(0)
    at_most: Count | None = None

    def units_at(self, place: Place) -> int:
        """Safety stock by this rule."""
        # Multiplied before dividing: 3 units in 7 days for 7 days are 3, not 3.0000001.
        covered = self.days_of_cover * place.sold_units / place.sold_days
        wanted = max(self.units, int(covered.to_integral_value(ROUND_CEILING)))
        return wanted if self.at_most is None else min(wanted, self.at_most)


class ProtectionRule(Model):
    """Keep units for one channel: so many, or a share of what is usable beyond safety stock."""

    channel: Id
    when: Match = Match()
    units: Count = 0
    percent: Percent = 0

    @model_validator(mode="after")
    def _says_one_thing(self) -> "ProtectionRule":
        if self.units and self.percent:
            raise ValueError("give units or percent, not both")
        return self

    def level(self, beyond_safety: int) -> int:
        """Units wanted for the channel."""
        return self.units if not self.percent else max(0, beyond_safety) * self.percent // 100


class StockRules(Model):
    """A document of stock rules."""

    name: Text = ""
    velocity_days: Annotated[int, Field(ge=1, le=365)] = 28
    """Sales of so many days make the velocity."""
    safety_stock: tuple[SafetyStockRule, ...] = ()
    protections: tuple[ProtectionRule, ...] = ()
    """The first rule that fits counts for each channel; earlier channels are filled first."""
    promisable: tuple[SupplyType, ...] = (
        SupplyType.PURCHASE_ORDER,
        SupplyType.IN_TRANSIT,
        SupplyType.PLANNED,
    )
    """Dated supply that may be promised before it is there."""

    @property
    def version(self) -> str:
        """The hash of the content: equal documents have one version."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that anything is kept for, first filled first."""
        return tuple(dict.fromkeys(rule.channel for rule in self.protections))


def safety_stock(rules: StockRules, place: Place) -> int:
    """Units of the position that are never sold; 0 where no rule fits."""
    for rule in rules.safety_stock:
        if rule.when.fits(place):
            return rule.units_at(place)
    return 0


def protection_levels(rules: StockRules, place: Place, beyond_safety: int) -> dict[str, int]:
    """Channel -> units wanted for it, in the order they are filled; channels with none left out.

    `beyond_safety` is what is usable less safety stock.
    """
    levels: dict[str, int] = {}
    seen: set[str] = set()
    for rule in rules.protections:
        if rule.channel not in seen and rule.when.fits(place):
            seen.add(rule.channel)
            level = rule.level(beyond_safety)
            if level:
                levels[rule.channel] = level
    return levels


def fill_protections(
    levels: Mapping[str, int], kept: Mapping[str, int], pool: int
) -> dict[str, int]:
    """Channel -> units to keep now, at most its level, all together at most `pool`.

    `pool` is what nobody has and safety stock leaves: sellable units and those kept already. A
    channel keeps what it has before any is filled up; both in the order of `levels`.
    """
    left = max(0, pool)
    filled: dict[str, int] = {}
    for wanted in (
        {channel: min(level, kept.get(channel, 0)) for channel, level in levels.items()},
        levels,
    ):
        for channel, level in wanted.items():
            more = min(level - filled.get(channel, 0), left)
            filled[channel] = filled.get(channel, 0) + more
            left -= more
    return filled
