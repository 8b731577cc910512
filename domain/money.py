"""Currencies and countries: ISO 4217 and ISO 3166 codes as pycountry lists them; exchange."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Annotated

import pycountry
from pydantic import AfterValidator

from domain.errors import FinalError

# ISO 4217 lists the minor unit of each currency; pycountry does not carry it. All others have 2.
_MINOR_UNITS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


def minor_units(currency: str) -> int:
    """How many decimal places amounts in that currency have (ISO 4217)."""
    return _MINOR_UNITS.get(currency, 2)


@cache
def _is_currency(code: str) -> bool:
    return pycountry.currencies.get(alpha_3=code) is not None


@cache
def _is_country(code: str) -> bool:
    return pycountry.countries.get(alpha_2=code) is not None


def _check_currency(code: str) -> str:
    if not _is_currency(code):
        raise ValueError(f"'{code}' is no ISO 4217 currency code, such as USD or EUR")
    return code


def _check_country(code: str) -> str:
    if not _is_country(code):
        raise ValueError(f"'{code}' is no ISO 3166 alpha-2 country code, such as US or BR")
    return code


CurrencyCode = Annotated[str, AfterValidator(_check_currency)]
CountryCode = Annotated[str, AfterValidator(_check_country)]


class NoRateError(FinalError):
    """An amount's currency has no exchange rate to the base currency."""


def to_base(amount: Decimal, currency: str, base: str, rates: Mapping[str, str]) -> Decimal:
    """The amount in the base currency. Raises NoRateError when no rate is configured."""
    if currency == base:
        return amount
    if currency not in rates:
        raise NoRateError(f"no exchange rate from {currency} to {base}: add one to the network")
    return amount * Decimal(rates[currency])
