"""A parcel's way: from the hand-over to the door, or to where it gets lost."""

from typing import Any

from pydantic import Field

from domain.events import CarrierStatus
from domain.values import Model
from integrations.simulators.knobs import Knobs, happens, knobs_for
from integrations.simulators.machine import Machine, now_text
from integrations.simulators.service import Answer, Refusal

_LASTS = {
    CarrierStatus.IN_TRANSIT: "transit",
    CarrierStatus.EXCEPTION: "out_for_delivery",
    CarrierStatus.OUT_FOR_DELIVERY: "out_for_delivery",
    CarrierStatus.DELIVERED: "deliver",
    CarrierStatus.LOST: "deliver",
    CarrierStatus.RETURNED: "deliver",
}
_DETAILS = {
    CarrierStatus.IN_TRANSIT: "picked up and on its way",
    CarrierStatus.EXCEPTION: "delivery delayed",
    CarrierStatus.OUT_FOR_DELIVERY: "on the van",
    CarrierStatus.DELIVERED: "delivered",
    CarrierStatus.LOST: "cannot be found",
    CarrierStatus.RETURNED: "returned to the sender",
}


class Parcel(Model):
    """A parcel with its tracking events; `way` are the statuses still to come."""

    tracking_number: str
    reference: str
    node_id: str
    drawn_by: str
    """What chance is drawn by: the same again for the same package of the same attempt."""
    status: CarrierStatus = CarrierStatus.PRE_TRANSIT
    way: tuple[CarrierStatus, ...] | None = None
    """None: not yet picked up."""
    events: tuple[dict[str, Any], ...] = Field(default=())


class Parcels:
    """The parcels of a carrier, or of a warehouse that ships itself."""

    def __init__(self, machine: Machine) -> None:
        """Keep parcels in the machine's memory."""
        self._machine = machine

    def find(self, tracking_number: str) -> Parcel | None:
        """The parcel of that number."""
        stored = self._machine.database.document("parcel", tracking_number)
        return None if stored is None else Parcel.model_validate_json(stored)

    def keep(self, parcel: Parcel) -> None:
        """Store a parcel."""
        self._machine.database.keep(
            "parcel", parcel.tracking_number, parcel.model_dump_json().encode()
        )

    def depart(self, parcel: Parcel) -> None:
        """The physical hand-over: from now on it moves by itself."""
        knobs = self._knobs(parcel)
        way = _way(knobs, parcel.drawn_by)
        self.keep(parcel.model_copy(update={"way": way}))
        self._machine.record(
            "parcel_picked_up", parcel.reference, tracking_number=parcel.tracking_number
        )
        self._machine.plan("move", parcel.tracking_number, knobs, lasts=_LASTS[way[0]])

    def move(self, tracking_number: str) -> None:
        """The next station of its way, told to doms."""
        parcel = self.find(tracking_number)
        if parcel is None or not parcel.way:
            return
        knobs, status = self._knobs(parcel), parcel.way[0]
        event = {
            "event_id": f"{tracking_number}.{len(parcel.events) + 1}.{status}",
            "occurred_at": now_text(),
            "status": status,
            "detail": _DETAILS[status],
        }
        moved = parcel.model_copy(
            update={"status": status, "way": parcel.way[1:], "events": (*parcel.events, event)}
        )
        self.keep(moved)
        self._machine.tell(
            parcel.reference,
            {
                "type": "tracker.updated",
                "reference": parcel.reference,
                "tracking_number": tracking_number,
                **event,
            },
            knobs,
        )
        if moved.way:
            self._machine.plan("move", tracking_number, knobs, lasts=_LASTS[moved.way[0]])
        else:
            self._machine.record(
                f"parcel_{status}", parcel.reference, tracking_number=tracking_number
            )

    def tracker(self, tracking_number: str) -> Answer:
        """A parcel's page. Raises Refusal when there is none."""
        parcel = self.find(tracking_number)
        if parcel is None:
            raise Refusal(404, "not_found", f"no parcel has the number {tracking_number}")
        return Answer(
            parcel.model_dump(mode="json", include={"tracking_number", "reference", "status"})
            | {"events": list(parcel.events)}
        )

    def _knobs(self, parcel: Parcel) -> Knobs:
        return knobs_for(self._machine.knobs, reference=parcel.reference, node_id=parcel.node_id)


def _way(knobs: Knobs, drawn_by: str) -> tuple[CarrierStatus, ...]:
    start = (CarrierStatus.IN_TRANSIT,)
    if happens(knobs, "lost_parcel_rate", drawn_by):
        return (*start, CarrierStatus.LOST)
    if happens(knobs, "returned_parcel_rate", drawn_by):
        return (*start, CarrierStatus.EXCEPTION, CarrierStatus.RETURNED)
    end = (CarrierStatus.OUT_FOR_DELIVERY, CarrierStatus.DELIVERED)
    if happens(knobs, "parcel_exception_rate", drawn_by):
        return (*start, CarrierStatus.EXCEPTION, *end)
    return (*start, *end)
