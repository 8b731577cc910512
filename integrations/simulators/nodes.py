"""Systems that run nodes: a WMS, a chain's POS, a third-party warehouse."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from domain.orders import Address, Method
from integrations.simulators.database import Step
from integrations.simulators.knobs import Knobs, happens, knobs_for
from integrations.simulators.machine import Machine, now_text
from integrations.simulators.orders import (
    NEVER_LEAVES,
    STILL_STOPPABLE,
    CancelRequest,
    Labels,
    Line,
    NewOrder,
    NodeOrder,
    Status,
    never_coming,
    packed,
    picked,
    without,
)
from integrations.simulators.parcels import Parcel, Parcels
from integrations.simulators.service import Answer, Call, Endpoint, Refusal, Subject

Packages = tuple[dict[str, Any], ...]


class NodeSimulator:
    """All nodes of one connection. Subclasses say how their kind of system differs."""

    title = "Simulated warehouse management system"
    accepts_at_once = True
    ships_itself = False

    def __init__(self, machine: Machine, *, carrier_url: str = "") -> None:
        """`carrier_url`: whom the nodes hand their parcels to; empty: nobody is told."""
        self.machine = machine
        self._carrier_url = carrier_url.rstrip("/")
        self._steps = {
            "accept": self._accept,
            "reject": self._reject,
            "pick": self._pick,
            "pack": self._pack,
            "hand_over": self._hand_over,
            "ready": self._ready,
            "collect": self._collect,
        }

    def endpoints(self) -> Sequence[Endpoint]:
        """See Simulator.endpoints."""
        one = "/orders/{reference}"
        return (
            Endpoint("POST", "/orders", "take an order, once per reference", self._release),
            Endpoint("GET", one, "an order with all its events", self._show),
            Endpoint("POST", f"{one}/cancel", "ask to stop it, or units of it", self._cancel),
            Endpoint("PUT", f"{one}/address", "send it elsewhere", self._readdress),
            Endpoint("POST", f"{one}/labels", "labels for its packages", self._take_labels),
            Endpoint("POST", f"{one}/remind", "ask for an acknowledgement", self._remind),
            Endpoint("POST", f"{one}/pickup-expired", "back on the shelf", self._expire),
        )

    def subject(self, call: Call) -> Subject:
        """See Simulator.subject."""
        reference = str(call.path.get("reference") or call.body.get("reference", ""))
        order = self._find(reference)
        if order is not None:
            return Subject(reference, order.node_id, order.skus)
        return Subject(reference, str(call.body.get("node_id", "")))

    def perform(self, step: Step) -> None:
        """See Simulator.perform."""
        order = self._find(step.subject)
        if order is None:
            return
        if step.name == "answer_cancel":
            self._answer_cancel(order, CancelRequest.model_validate_json(step.detail))
        else:
            self._steps[step.name](order, self._knobs(order))

    # What the API does.

    def _release(self, call: Call) -> Answer:
        new = NewOrder.model_validate(call.body)
        known = self._find(new.reference)
        if known is not None:
            if not known.lines:
                raise Refusal(409, "cancelled", "this order was cancelled before it came")
            return Answer(self._receipt(known))
        knobs = knobs_for(
            self.machine.knobs,
            reference=new.reference,
            node_id=new.node_id,
            skus=[line.sku for line in new.lines],
        )
        silent = happens(knobs, "silence_rate", new.reference)
        answered = Status.RECEIVED if silent or not self.accepts_at_once else Status.ACCEPTED
        order = NodeOrder(
            id=f"ord_{uuid4().hex[:16]}",
            reference=new.reference,
            node_id=new.node_id,
            method=new.method,
            service=new.service,
            answered=answered,
            status=answered,
            silent=silent,
            lines=tuple(Line(**line.model_dump()) for line in new.lines),
            weights=new.weights,
            ship_to=new.ship_to,
        )
        self._keep(order)
        self._record("order_created", order, lines=_quantities(order))
        if not silent:
            self._start(order, knobs)
        return Answer(self._receipt(order), status=201, worked=True)

    def _start(self, order: NodeOrder, knobs: Knobs) -> None:
        if happens(knobs, "rejection_rate", order.reference):
            self._plan("reject", order, knobs, lasts="accept")
        elif self.accepts_at_once:
            self._plan("pick", order, knobs)
        else:
            self._plan("accept", order, knobs)

    def _show(self, call: Call) -> Answer:
        order = self._known(call)
        shown = order.model_dump(
            mode="json", exclude={"ship_to", "replies", "weights", "answered", "silent"}
        )
        return Answer({**shown, "ships_itself": self.ships_itself})

    def _cancel(self, call: Call) -> Answer:
        asked = CancelRequest.model_validate(call.body)
        order = self._find(call.path["reference"])
        if order is None:
            return self._refuse_in_advance(call.path["reference"], asked)
        if asked.request_id in order.replies:
            return Answer(order.replies[asked.request_id])
        knobs, request = self._knobs(order), f"{order.reference}/{asked.request_id}"
        if happens(knobs, "cancel_unknown_rate", request):
            return Answer({"outcome": "unknown", "lines": []})
        stoppable = order.status in STILL_STOPPABLE and not order.silent
        if stoppable and happens(knobs, "cancel_pending_rate", request):
            reply: dict[str, Any] = {"outcome": "pending", "lines": []}
            self._plan("answer_cancel", order, knobs, detail=asked.model_dump_json())
        else:
            order, reply = self._stop(order, asked)
        self._keep(_replied(order, asked, reply))
        return Answer(reply, worked=True)

    def _refuse_in_advance(self, reference: str, asked: CancelRequest) -> Answer:
        """A cancel that overtook its order: should the order still come, it is turned away."""
        if asked.lines is not None:
            raise Refusal(404, "not_found", f"no order with the reference {reference}")
        reply: dict[str, Any] = {"outcome": "cancelled", "lines": []}
        order = NodeOrder(
            id=f"ord_{uuid4().hex[:16]}",
            reference=reference,
            node_id="unknown",
            method=Method.SHIP,
            service=None,
            answered=Status.CANCELLED,
            status=Status.CANCELLED,
            silent=False,
            lines=(),
            weights={},
            ship_to=None,
        )
        self._keep(_replied(order, asked, reply))
        self._record("order_cancelled", order, lines=[], request_id=asked.request_id)
        return Answer(reply, worked=True)

    def _stop(self, order: NodeOrder, asked: CancelRequest) -> tuple[NodeOrder, dict[str, Any]]:
        """Take the units out of the order if that is still possible, and say so."""
        if order.status in NEVER_LEAVES:
            return order, {"outcome": "cancelled", "lines": never_coming(order, asked.lines)}
        if order.status not in STILL_STOPPABLE:
            return order, {"outcome": "too_late", "lines": []}
        order, taken = without(order, asked.lines)
        if not taken:
            return order, {"outcome": "too_late", "lines": []}
        if not order.left:
            order = order.model_copy(update={"status": Status.CANCELLED})
        self._record("order_cancelled", order, lines=taken, request_id=asked.request_id)
        return order, {"outcome": "cancelled", "lines": taken}

    def _readdress(self, call: Call) -> Answer:
        address = Address.model_validate(call.body)
        order = self._known(call)
        if order.status not in STILL_STOPPABLE:
            raise Refusal(409, "too_late", f"the order is already {order.status}")
        self._keep(order.model_copy(update={"ship_to": address}))
        self._record("address_changed", order)
        return Answer({"outcome": "updated"}, worked=True)

    def _take_labels(self, call: Call) -> Answer:
        given = {label.package_id: label for label in Labels.model_validate(call.body).labels}
        order = self._known(call)
        unknown = set(given) - {package["package_id"] for package in order.packages}
        if unknown:
            raise Refusal(422, "unknown_package", f"no package {min(unknown)} in this order")
        if order.status is not Status.PACKED:
            return Answer({"status": order.status})
        packages = tuple(
            package | given[package["package_id"]].model_dump(exclude_none=True)
            if package["package_id"] in given
            else package
            for package in order.packages
        )
        complete = all("tracking_number" in package for package in packages)
        was_complete = all("tracking_number" in package for package in order.packages)
        self._keep(order.model_copy(update={"packages": packages}))
        if complete and not was_complete:
            self._record("labels_attached", order, tracking_numbers=_numbers(packages))
            self._plan("hand_over", order, self._knobs(order))
        return Answer({"status": order.status}, worked=complete and not was_complete)

    def _remind(self, call: Call) -> Answer:
        order = self._known(call)
        self._record("reminded", order)
        return Answer({"status": order.status})

    def _expire(self, call: Call) -> Answer:
        order = self._known(call)
        if order.status is Status.BACK_ON_SHELF:
            return Answer({"status": order.status})
        if order.status is not Status.READY_FOR_PICKUP:
            raise Refusal(409, "not_waiting", f"the order is {order.status}, not ready_for_pickup")
        order = order.model_copy(update={"status": Status.BACK_ON_SHELF})
        self._keep(order)
        self._record("back_on_shelf", order, lines=_quantities(order))
        return Answer({"status": order.status}, worked=True)

    # What its people do.

    def _accept(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status is Status.RECEIVED:
            self._tell("acknowledged", order, knobs, status=Status.ACCEPTED)
            self._plan("pick", order, knobs)

    def _reject(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status not in STILL_STOPPABLE:
            return
        order, taken = without(order, None)
        self._tell("rejected", order, knobs, status=Status.REJECTED, reason=knobs.rejection_reason)
        self._record("order_rejected", order, lines=taken)

    def _pick(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status is not Status.ACCEPTED:
            return
        order, facts = picked(order, self.machine.knobs)
        status = Status.PICKED if order.left else Status.NOTHING_LEFT
        self._tell("picked", order, knobs, status=status, lines=facts)
        self._record("order_picked", order, lines=facts)
        if order.left:
            self._plan("ready" if order.method is Method.PICKUP else "pack", order, knobs)

    def _pack(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status is not Status.PICKED:
            return
        most_units = knobs.units_per_package if self.ships_itself else None
        packages = self._labelled(order, packed(order, most_units=most_units))
        order = order.model_copy(update={"packages": packages})
        self._tell("packed", order, knobs, status=Status.PACKED, packages=packages)
        self._record("order_packed", order, packages=len(packages))
        if self.ships_itself:
            self._plan("hand_over", order, knobs)

    def _labelled(self, _: NodeOrder, packages: Packages) -> Packages:
        """Packages as they leave the packing table; labels come from doms."""
        return packages

    def _hand_over(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status is not Status.PACKED:
            return
        self._tell("handed_over", order, knobs, status=Status.HANDED_OVER, packages=order.packages)
        numbers = _numbers(order.packages)
        self._record("order_handed_over", order, tracking_numbers=numbers)
        self._give_to_carrier(order, numbers)

    def _give_to_carrier(self, order: NodeOrder, numbers: list[str]) -> None:
        if self._carrier_url:
            self.machine.call(
                f"pickup/{order.reference}",
                f"{self._carrier_url}/pickups",
                {"reference": order.reference, "tracking_numbers": numbers},
            )

    def _ready(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status is not Status.PICKED:
            return
        self._tell("ready_for_pickup", order, knobs, status=Status.READY_FOR_PICKUP)
        if not happens(knobs, "no_show_rate", order.reference):
            self._plan("collect", order, knobs)

    def _collect(self, order: NodeOrder, knobs: Knobs) -> None:
        if order.status is not Status.READY_FOR_PICKUP:
            return
        self._tell("collected", order, knobs, status=Status.COLLECTED)
        self._record("order_collected", order, lines=_quantities(order))

    def _answer_cancel(self, order: NodeOrder, asked: CancelRequest) -> None:
        knobs = self._knobs(order)
        order, reply = self._stop(order, asked)
        order = _replied(order, asked, reply)
        if reply["outcome"] == "cancelled":
            lines = [{"line_id": x["line_id"], "short": x["quantity"]} for x in reply["lines"]]
            self._tell("cancelled", order, knobs, lines=lines, request_id=asked.request_id)
        else:
            self._tell("cancel_refused", order, knobs, request_id=asked.request_id)

    # Its memory.

    def _tell(
        self,
        kind: str,
        order: NodeOrder,
        knobs: Knobs,
        *,
        status: Status | None = None,
        **facts: object,
    ) -> None:
        """Move the order on, and report it."""
        event = {
            "type": f"order.{kind}",
            "event_id": f"{order.reference}.{len(order.events) + 1}.{kind}",
            "occurred_at": now_text(),
            "reference": order.reference,
            **facts,
        }
        moved = order.model_copy(
            update={"status": status or order.status, "events": (*order.events, event)}
        )
        self._keep(moved)
        self.machine.tell(order.reference, event, knobs)

    def _plan(
        self, step: str, order: NodeOrder, knobs: Knobs, *, lasts: str = "", detail: str = ""
    ) -> None:
        self.machine.plan(step, order.reference, knobs, lasts=lasts or step, detail=detail)

    def _record(self, kind: str, order: NodeOrder, **detail: object) -> None:
        self.machine.record(kind, order.reference, node_id=order.node_id, **detail)

    def _receipt(self, order: NodeOrder) -> dict[str, Any]:
        return {
            "id": order.id,
            "reference": order.reference,
            "status": order.answered,
            "ships_itself": self.ships_itself,
        }

    def _knobs(self, order: NodeOrder) -> Knobs:
        return knobs_for(
            self.machine.knobs, reference=order.reference, node_id=order.node_id, skus=order.skus
        )

    def _known(self, call: Call) -> NodeOrder:
        order = self._find(call.path["reference"])
        if order is None:
            raise Refusal(404, "not_found", f"no order with the reference {call.path['reference']}")
        return order

    def _find(self, reference: str) -> NodeOrder | None:
        stored = self.machine.database.document("order", reference)
        return None if stored is None else NodeOrder.model_validate_json(stored)

    def _keep(self, order: NodeOrder) -> None:
        self.machine.database.keep("order", order.reference, order.model_dump_json().encode())


class StoreSimulator(NodeSimulator):
    """A chain's tills: people accept an order later, and customers collect."""

    title = "Simulated point of sale"
    accepts_at_once = False


class ThirdPartySimulator(NodeSimulator):
    """A third-party warehouse: ships by itself, in several packages, and reports their way."""

    title = "Simulated third-party warehouse"
    ships_itself = True

    def __init__(self, machine: Machine, *, carrier_url: str = "") -> None:
        """Its parcels are its own affair; `carrier_url` is not used."""
        super().__init__(machine, carrier_url=carrier_url)
        self._parcels = Parcels(machine)

    def endpoints(self) -> Sequence[Endpoint]:
        """See Simulator.endpoints."""
        track = Endpoint("GET", "/trackers/{tracking_number}", "where a parcel is", self._track)
        return (*super().endpoints(), track)

    def perform(self, step: Step) -> None:
        """See Simulator.perform."""
        if step.name == "move":
            self._parcels.move(step.subject)
        else:
            super().perform(step)

    def _track(self, call: Call) -> Answer:
        return self._parcels.tracker(call.path["tracking_number"])

    def _labelled(self, order: NodeOrder, packages: Packages) -> Packages:
        """It labels its packages itself."""
        return tuple(self._own_label(order, package) for package in packages)

    def _own_label(self, order: NodeOrder, package: dict[str, Any]) -> dict[str, Any]:
        number = f"3PL{uuid4().hex[:16].upper()}"
        self._parcels.keep(
            Parcel(
                tracking_number=number,
                reference=order.reference,
                node_id=order.node_id,
                drawn_by=package["package_id"],
            )
        )
        return package | {
            "tracking_number": number,
            "carrier": "Simulated 3PL Parcel",
            "service": order.service or "standard",
        }

    def _give_to_carrier(self, order: NodeOrder, numbers: list[str]) -> None:
        for number in numbers:
            parcel = self._parcels.find(number)
            if parcel is not None:
                self._parcels.depart(parcel)


def _replied(order: NodeOrder, asked: CancelRequest, reply: dict[str, Any]) -> NodeOrder:
    """The order with its answer kept, so that a repeat of the request hears the same."""
    return order.model_copy(update={"replies": {**order.replies, asked.request_id: reply}})


def _quantities(order: NodeOrder) -> list[dict[str, Any]]:
    return [
        {"line_id": line.line_id, "sku": line.sku, "quantity": line.left} for line in order.lines
    ]


def _numbers(packages: Sequence[dict[str, Any]]) -> list[str]:
    return [package["tracking_number"] for package in packages if "tracking_number" in package]
