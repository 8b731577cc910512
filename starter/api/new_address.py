"""A changed address: placed as well as the one it replaces, or refused with what to send.

Routing and delivery dates go by coordinates. An address without any counts by its region alone, so
an order that had coordinates and loses them would be sent from a node far away.
"""

from domain.orders import Address
from starter.api.problems import FieldError, InvalidDocumentError

_SEND = (
    "the address before had coordinates: send latitude and longitude of the new one, or null where"
    " they are not known; its distance is then assumed by region and country"
)


def placed(new: Address, before: Address | None) -> Address:
    """The new address, with the coordinates of the one before where the postal code is the same.

    Raises InvalidDocumentError where it says nothing of coordinates that the one before had, and
    for one coordinate without the other.
    """
    given = {"latitude": new.latitude, "longitude": new.longitude}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 1:
        raise InvalidDocumentError([FieldError(f"address.{missing[0]}", "must be given too")])
    if not missing or before is None or before.latitude is None or before.longitude is None:
        return new
    if _area(new) == _area(before) != "":
        known = {"latitude": before.latitude, "longitude": before.longitude}
        return new.model_copy(update=known)
    if given.keys() & new.model_fields_set:
        return new
    raise InvalidDocumentError([FieldError(f"address.{name}", _SEND) for name in missing])


def _area(address: Address) -> str:
    code = "".join((address.postal_code or "").upper().split())
    return f"{address.country} {code}" if code else ""
