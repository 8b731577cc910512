"""Money in whole micros of the base currency."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from domain.values import MICROS

HUGE = 1 << 58
"""Dearer than any shipment may be; a few of them still fit 64 bits."""


def micros(amount: Decimal) -> int:
    """An amount of money in millionths."""
    return int(amount * MICROS)


def clipped(amount_micros: int) -> int:
    """The amount, or `HUGE`, which the kernel refuses to plan with."""
    return min(amount_micros, HUGE)


class ExchangeRates:
    """Amounts in a node's currency become micros of the base currency."""

    def __init__(self, rates: Mapping[str, str], base_currency: str) -> None:
        """`rates` in units of the base currency, whose own rate is 1."""
        self._texts = rates
        self._base = base_currency
        self._rates: dict[str, Fraction] = {}

    def knows(self, currency: str) -> bool:
        """Whether amounts in the currency can be converted."""
        return currency == self._base or currency in self._texts

    def to_base(self, amount_micros: int, currency: str) -> int:
        """Micros of the base currency, rounded half to even; only of a currency it knows."""
        if currency == self._base:
            return amount_micros
        rate = self._rates.get(currency)
        if rate is None:
            rate = self._rates[currency] = Fraction(self._texts[currency])
        return round(amount_micros * rate)
