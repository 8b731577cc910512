"""What a node and carriers report of a fulfillment, folded into its state once."""

from collections.abc import Callable

from domain.events import (
    CarrierEvent,
    LineFact,
    NodeEvent,
    NodeEventType,
    ShortReason,
)
from domain.fulfillment_draft import Draft, completed, contents
from domain.fulfillment_effects import Effects, Outcome, finish
from domain.fulfillment_state import REJECTED, FulfillmentState
from domain.fulfillments import ON_THE_WAY, FulfillmentStatus, Package, PackageLine, PackageStatus


def apply_node_event(state: FulfillmentState, event: NodeEvent) -> Outcome:
    """The state after a node's report, and what it newly changes. A repeat changes nothing."""
    keys = _keys(event)
    if keys & set(state.seen):
        return state, Effects(duplicate=True, closed=state.is_closed)
    draft = Draft.of(state)
    draft.set(seen=(*state.seen, *sorted(keys)))
    _APPLY[event.type](draft, event)
    return finish(state, draft)


def apply_carrier_event(state: FulfillmentState, event: CarrierEvent) -> Outcome:
    """The state after a carrier's report on one package. A repeat changes nothing.

    A report on a tracking number no package has yet is kept, and counts once one has it.
    """
    if event.event_id in state.seen:
        return state, Effects(duplicate=True, closed=state.is_closed)
    draft = Draft.of(state)
    draft.set(seen=(*state.seen, event.event_id), early=(*state.early, event))
    return finish(state, draft)


def _keys(event: NodeEvent) -> set[str]:
    """A cancel is known by its request too: the answer to the call may tell it first."""
    is_answer = event.type is NodeEventType.CANCELLED and event.request_id is not None
    return {event.event_id, f"cancel/{event.request_id}"} if is_answer else {event.event_id}


def _shorts(draft: Draft, event: NodeEvent) -> None:
    for fact in _known(draft, event.lines):
        draft.give_back(fact.line_id, fact.short, fact.reason or ShortReason.OTHER)


def _known(draft: Draft, facts: tuple[LineFact, ...]) -> list[LineFact]:
    return [fact for fact in facts if fact.line_id in draft.lines]


def _acknowledged(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.ACKNOWLEDGED)
    _shorts(draft, event)


def _picking(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PICKING)
    _count_picked(draft, event.lines)
    _shorts(draft, event)


def _picked(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PICKING)
    if any(fact.picked or fact.short for fact in event.lines):
        _count_picked(draft, event.lines)
    else:
        _all_picked(draft)
    _shorts(draft, event)


def _count_picked(draft: Draft, facts: tuple[LineFact, ...]) -> None:
    for fact in _known(draft, facts):
        line = draft.lines[fact.line_id]
        picked = min(line.reported_picked + fact.picked, line.asked)
        draft.lines[fact.line_id] = line.model_copy(update={"reported_picked": picked})


def _all_picked(draft: Draft) -> None:
    for line_id, line in draft.lines.items():
        draft.lines[line_id] = line.model_copy(update={"reported_picked": line.asked})


def _packed(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PACKED)
    _shorts(draft, event)
    if event.packages:
        _add_packages(draft, event.packages)
    else:
        _imply_package(draft, {x.line_id: x.picked for x in _known(draft, event.lines)})


def _add_packages(draft: Draft, packages: tuple[Package, ...]) -> None:
    for package in packages:
        known = draft.packages.get(package.package_id)
        if known is not None:
            draft.packages[package.package_id] = completed(known, package)
        elif package.package_id not in draft.state.given_up:
            _add_package(draft, package)


def _add_package(draft: Draft, package: Package) -> None:
    status = PackageStatus.LABELLED if package.tracking_number else PackageStatus.PACKED
    if not package.lines:
        implied = (*draft.state.implied, package.package_id)
        draft.set(implied=implied)
        units = {line_id: draft.unpacked(line_id) for line_id in draft.lines}
    else:
        units, status = _take_over(draft, package, status)
        if not any(units.values()):
            return
    draft.packages[package.package_id] = package.model_copy(
        update={"lines": _lines(units), "status": status}
    )


def _take_over(
    draft: Draft, package: Package, status: PackageStatus
) -> tuple[dict[str, int], PackageStatus]:
    """The package's units, from those not packed yet, then from packages of inferred contents."""
    units: dict[str, int] = {}
    for told in package.lines:
        if told.line_id not in draft.lines:
            continue
        wanted = told.quantity
        taken = min(wanted, draft.unpacked(told.line_id))
        for implied in draft.state.implied:
            source = draft.packages.get(implied)
            there = 0 if source is None else contents([source], told.line_id)
            more = min(wanted - taken, there)
            if source is not None and more > 0:
                draft.take_out(source, told.line_id, more)
                taken, status = taken + more, source.status
        units[told.line_id] = units.get(told.line_id, 0) + taken
    return units, status


def _imply_package(draft: Draft, told: dict[str, int]) -> None:
    """A package nobody described: the told units, or all that is in no package yet."""
    units = {
        line_id: min(told.get(line_id, 0), draft.unpacked(line_id))
        if any(told.values())
        else draft.unpacked(line_id)
        for line_id in draft.lines
    }
    if any(units.values()):
        number = 1
        while f"P{number}" in draft.packages:
            number += 1
        package = Package(package_id=f"P{number}", lines=_lines(units))
        draft.packages[package.package_id] = package
        draft.set(implied=(*draft.state.implied, package.package_id))


def _lines(units: dict[str, int]) -> tuple[PackageLine, ...]:
    return tuple(PackageLine(line_id=x, quantity=units[x]) for x in units if units[x] > 0)


def _ready_for_pickup(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.READY_FOR_PICKUP)
    _shorts(draft, event)
    _add_packages(draft, event.packages)
    _all_picked(draft)


def _handed_over(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PACKED)
    _shorts(draft, event)
    _add_packages(draft, event.packages)
    if not draft.packages:
        _imply_package(draft, {})
    told = {package.package_id for package in event.packages}
    _ship(draft, [x for x in draft.packages if x in told or not told])


def _ship(draft: Draft, package_ids: list[str]) -> None:
    for package_id in package_ids:
        package = draft.packages[package_id]
        if package.status not in ON_THE_WAY:
            draft.set_status(package_id, PackageStatus.SHIPPED)


def _collected(draft: Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.READY_FOR_PICKUP)
    _shorts(draft, event)
    _add_packages(draft, event.packages)
    _imply_package(draft, {})
    for package_id in draft.packages:
        draft.set_status(package_id, PackageStatus.DELIVERED)
    draft.set(collected=True)


def _rejected(draft: Draft, event: NodeEvent) -> None:
    """The named units (a line without a number: all of it), or everything still at the node."""
    facts = _known(draft, event.lines)
    asked = {x.line_id: x.short or draft.lines[x.line_id].asked for x in facts}
    for line_id in list(draft.lines):
        quantity = asked.get(line_id, 0) if event.lines else draft.at_node(line_id)
        draft.give_back(line_id, quantity, REJECTED)


def _cancelled(draft: Draft, event: NodeEvent) -> None:
    facts = _known(draft, event.lines)
    told = {x.line_id: x.short or draft.lines[x.line_id].asked for x in facts}
    draft.cancel_lines(told if event.lines else None)


def _cancel_refused(draft: Draft, event: NodeEvent) -> None:
    """Nothing changes: the node goes on."""


_APPLY: dict[NodeEventType, Callable[[Draft, NodeEvent], None]] = {
    NodeEventType.ACKNOWLEDGED: _acknowledged,
    NodeEventType.PICKING: _picking,
    NodeEventType.PICKED: _picked,
    NodeEventType.PACKED: _packed,
    NodeEventType.READY_FOR_PICKUP: _ready_for_pickup,
    NodeEventType.HANDED_OVER: _handed_over,
    NodeEventType.COLLECTED: _collected,
    NodeEventType.REJECTED: _rejected,
    NodeEventType.CANCELLED: _cancelled,
    NodeEventType.CANCEL_REFUSED: _cancel_refused,
}
