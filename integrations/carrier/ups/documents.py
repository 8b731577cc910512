"""What UPS is sent and what it answers: its own words around doms's."""

from base64 import b64decode
from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from domain.orders import Address
from integrations.carrier.account import (
    Sender,
    amount,
    inches,
    level_of,
    receiver_of,
)
from integrations.carrier.port import Label, LabelImage, Rate, ShipmentRequest

LONGEST_NAME = 35
LONGEST_LINE = 35
LONGEST_CITY = 30
LONGEST_REFERENCE = 35
_READABLE = 18
_MOST_LINES = 3
_GRAMS_PER_POUND = Decimal("453.59237")
_POUNDS = {"Code": "LBS", "Description": "Pounds"}
_INCHES = {"Code": "IN", "Description": "Inches"}
_CUSTOMER_PACKAGE = "02"
_TRANSPORTATION = "01"
_MEDIA_TYPES = {
    "GIF": "image/gif",
    "PNG": "image/png",
    "PDF": "application/pdf",
    "ZPL": "application/zpl",
    "EPL": "application/epl",
    "SPL": "application/spl",
}


def reference_of(key: str) -> str:
    """The key by which UPS finds a shipment again: its start, for people, and its hash.

    A reference stands in an address, so it has no slash.
    """
    start = "".join(x if x.isascii() and x.isalnum() else "-" for x in key)[:_READABLE]
    return f"{start}.{sha256(key.encode()).hexdigest()[: LONGEST_REFERENCE - _READABLE - 1]}"


def rate_request(request: ShipmentRequest, sender: Sender, account: str) -> dict[str, Any]:
    """`POST /rating/v2409/Shop`: every service, at the account's own prices."""
    return {
        "RateRequest": {
            "Request": {"RequestOption": "Shop"},
            "Shipment": {
                **_parties(request, sender, account),
                "ShipmentRatingOptions": {"NegotiatedRatesIndicator": "Y"},
                "Package": [{"PackagingType": {"Code": _CUSTOMER_PACKAGE}, **_sizes(request)}],
            },
        }
    }


def ship_request(
    request: ShipmentRequest, sender: Sender, account: str, code: str, key: str, image: str
) -> dict[str, Any]:
    """`POST /shipments/v2409/ship`: one package, billed to the account, with our reference."""
    charge = {"Type": _TRANSPORTATION, "BillShipper": {"AccountNumber": account}}
    package = {
        "Packaging": {"Code": _CUSTOMER_PACKAGE},
        "ReferenceNumber": [{"Value": reference_of(key)}],
        **_sizes(request),
    }
    return {
        "ShipmentRequest": {
            "Request": {"RequestOption": "nonvalidate"},
            "Shipment": {
                **_parties(request, sender, account),
                "PaymentInformation": {"ShipmentCharge": [charge]},
                "ShipmentRatingOptions": {"NegotiatedRatesIndicator": "Y"},
                "Service": {"Code": code},
                "Package": [package],
            },
            "LabelSpecification": _label_as(image),
        }
    }


def reference_query(request: ShipmentRequest, account: str) -> str:
    """`GET /track/v1/reference/details/{reference}?`: of our account, to that place."""
    receiver = receiver_of(request)
    asked = {
        "shipperNum": account,
        "refNumType": "SmallPackage",
        "destCountry": receiver.country,
        "destZip": _postal_code(receiver.postal_code or ""),
    }
    return urlencode(asked)


def recovery_request(tracking_number: str, image: str) -> dict[str, Any]:
    """`POST /labels/v2409/recovery`: the label of a package that was bought before."""
    specification: dict[str, Any] = {"LabelImageFormat": {"Code": image}}
    return {
        "LabelRecoveryRequest": {
            "Request": {"RequestOption": "nonvalidate"},
            "LabelSpecification": specification,
            "TrackingNumber": tracking_number,
        }
    }


def rates_of(
    answer: Mapping[str, Any], request: ShipmentRequest, names: Mapping[str, str]
) -> tuple[Rate, ...]:
    """The rates of an answer, cheapest first. Raises ValueError, KeyError or TypeError."""
    found = []
    for rated in listed(answer["RateResponse"]["RatedShipment"]):
        code = rated["Service"]["Code"]
        service = names.get(code, f"UPS-{code}")
        cost, currency = charge_of(rated)
        days = (rated.get("GuaranteedDelivery") or {}).get("BusinessDaysInTransit")
        found.append(
            Rate(
                service=service,
                level=level_of(request, service),
                carrier="UPS",
                cost=cost,
                currency=currency,
                delivery_days=int(days) if days else None,
            )
        )
    return tuple(sorted(found, key=lambda rate: (rate.cost, rate.service)))


def label_of(answer: Mapping[str, Any], service: str) -> Label:
    """The label of a ship answer. Raises ValueError, KeyError or TypeError."""
    results = answer["ShipmentResponse"]["ShipmentResults"]
    package = listed(results["PackageResults"])[0]
    cost, currency = charge_of(results, of="ShipmentCharges")
    return Label(
        shipment_id=results["ShipmentIdentificationNumber"],
        tracking_number=package["TrackingNumber"],
        carrier="UPS",
        service=service,
        label_url="",
        cost=cost,
        currency=currency,
        image=_image(package["ShippingLabel"], "ImageFormat"),
    )


def recovered_image(answer: Mapping[str, Any]) -> LabelImage:
    """The picture in a label recovery. Raises ValueError, KeyError or TypeError."""
    results = listed(answer["LabelRecoveryResponse"]["LabelResults"])
    return _image(results[0]["LabelImage"], "LabelImageFormat")


def charge_of(answer: Mapping[str, Any], *, of: str = "") -> tuple[Decimal, str]:
    """Amount and currency: the account's own price where there is one, else the published one."""
    charges = answer[of] if of else answer
    negotiated = (answer.get("NegotiatedRateCharges") or {}).get("TotalCharge")
    total = negotiated or charges["TotalCharges"]
    return amount(total["MonetaryValue"]), total["CurrencyCode"]


def listed(value: Any) -> list[Any]:
    """UPS sends one entry as an object in older versions, several as a list."""
    return value if isinstance(value, list) else [value]


def _image(label: Mapping[str, Any], kind: str) -> LabelImage:
    code = label[kind]["Code"]
    media_type = _MEDIA_TYPES.get(code, "application/octet-stream")
    return LabelImage(media_type=media_type, content=b64decode(label["GraphicImage"]))


def _label_as(image: str) -> dict[str, Any]:
    stock = {"Height": "6", "Width": "4"}
    return {"LabelImageFormat": {"Code": image}, "LabelStockSize": stock}


def _parties(request: ShipmentRequest, sender: Sender, account: str) -> dict[str, Any]:
    address = _sender_address(sender)
    receiver = receiver_of(request)
    name = (receiver.name or "Customer")[:LONGEST_NAME]
    phone = {"Phone": {"Number": sender.phone}} if sender.phone else {}
    from_whom = {"Name": sender.name[:LONGEST_NAME], "Address": address}
    return {
        "Shipper": {**from_whom, "ShipperNumber": account, **phone},
        "ShipFrom": from_whom,
        "ShipTo": {"Name": name, "Address": _receiver_address(receiver)},
    }


def _sender_address(sender: Sender) -> dict[str, Any]:
    return _address(
        (sender.line1, sender.line2),
        sender.city,
        sender.region,
        sender.postal_code,
        sender.country,
    )


def _receiver_address(address: Address) -> dict[str, Any]:
    return _address(
        (address.line1, address.line2),
        address.city,
        address.region,
        address.postal_code,
        address.country,
    )


def _address(
    lines: tuple[str | None, ...],
    city: str | None,
    region: str | None,
    postal_code: str | None,
    country: str,
) -> dict[str, Any]:
    pieces = [piece for line in lines if line for piece in _pieces(line)]
    found: dict[str, Any] = {
        "AddressLine": pieces[:_MOST_LINES],
        "City": (city or "-")[:LONGEST_CITY],
        "CountryCode": country,
    }
    if region:
        found["StateProvinceCode"] = region.rpartition("-")[2]
    if postal_code:
        found["PostalCode"] = _postal_code(postal_code)
    return found


def _postal_code(text: str) -> str:
    return text.replace("-", "").replace(" ", "")


def _pieces(line: str) -> list[str]:
    """A line in pieces that fit on the label, cut between words."""
    pieces = [""]
    for word in line.split():
        joined = f"{pieces[-1]} {word}".strip()
        if len(joined) <= LONGEST_LINE:
            pieces[-1] = joined
        else:
            pieces.append(word[:LONGEST_LINE])
    return pieces


def _sizes(request: ShipmentRequest) -> dict[str, Any]:
    """Pounds and whole inches, rounded up; a size that nobody measured is left out."""
    pounds = (Decimal(request.weight_grams) / _GRAMS_PER_POUND).quantize(Decimal("0.1"), ROUND_UP)
    sizes: dict[str, Any] = {
        "PackageWeight": {
            "UnitOfMeasurement": _POUNDS,
            "Weight": str(max(pounds, Decimal("0.1"))),
        }
    }
    measured = sorted((request.length_mm, request.width_mm, request.height_mm), reverse=True)
    if all(measured):
        named = zip(("Length", "Width", "Height"), measured, strict=True)
        whole = {name: str(int(inches(size).to_integral_value(ROUND_UP))) for name, size in named}
        sizes["Dimensions"] = {"UnitOfMeasurement": _INCHES, **whole}
    return sizes
