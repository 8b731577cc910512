"""The state machine of one fulfillment: what its node and carriers report, folded into facts.

Units are counted once, whatever the order or repetition of the reports: each asked unit is given
back (short, rejected, lost), cancelled, or still expected; the status follows from the packages.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from pydantic import Field

from domain.errors import IllegalTransitionError
from domain.events import (
    CarrierEvent,
    CarrierStatus,
    EventId,
    FulfillmentProgress,
    LineFact,
    LineProgress,
    NodeEvent,
    NodeEventType,
    Shortfall,
    ShortReason,
)
from domain.fulfillments import (
    CLOSED_FULFILLMENTS,
    FulfillmentOrder,
    FulfillmentStatus,
    Package,
    PackageLine,
    PackageStatus,
)
from domain.orders import Method
from domain.plans import FulfillmentView
from domain.stages import Attention, Choice
from domain.values import Count, DerivedId, Id, Model, UtcTime

REJECTED = "rejected"


class LineState(Model):
    """Units of one line. `reported_picked` is what the node said, before what packing implies."""

    line_id: Id
    asked: Count
    reported_picked: Count = 0
    cancelled: Count = 0
    given_back: dict[str, Count] = Field(default_factory=dict)
    """Reason (not_found, damaged, rejected, lost, ...) -> units that returned to the order."""

    @property
    def expected(self) -> int:
        """Units that are still to reach the customer, or have reached them."""
        return self.asked - self.cancelled - sum(self.given_back.values())


_ON_THE_WAY = frozenset(
    {
        PackageStatus.SHIPPED,
        PackageStatus.OUT_FOR_DELIVERY,
        PackageStatus.DELIVERED,
        PackageStatus.EXCEPTION,
        PackageStatus.LOST,
        PackageStatus.RETURNED,
    }
)
_OF_PACKAGE = {
    PackageStatus.PACKED: FulfillmentStatus.PACKED,
    PackageStatus.LABELLED: FulfillmentStatus.PACKED,
    PackageStatus.EXCEPTION: FulfillmentStatus.EXCEPTION,
    PackageStatus.LOST: FulfillmentStatus.EXCEPTION,
    PackageStatus.RETURNED: FulfillmentStatus.EXCEPTION,
    PackageStatus.SHIPPED: FulfillmentStatus.SHIPPED,
    PackageStatus.OUT_FOR_DELIVERY: FulfillmentStatus.OUT_FOR_DELIVERY,
    PackageStatus.DELIVERED: FulfillmentStatus.DELIVERED,
}
"""Least advanced first; a lost or returned package is an exception until a person gives it up."""
_LEAST_FIRST = tuple(_OF_PACKAGE)
_AT_NODE = (
    FulfillmentStatus.RELEASED,
    FulfillmentStatus.ACKNOWLEDGED,
    FulfillmentStatus.PICKING,
    FulfillmentStatus.PACKED,
    FulfillmentStatus.READY_FOR_PICKUP,
)


class FulfillmentState(Model):
    """All that is known of a fulfillment; every change makes a new one, one revision on."""

    order: FulfillmentOrder
    lines: tuple[LineState, ...]
    packages: tuple[Package, ...] = ()
    node_status: FulfillmentStatus = FulfillmentStatus.RELEASED
    """How far the node said it is, before packages leave."""
    ships_itself: bool = False
    """The node buys its own labels (suppliers, 3PLs)."""
    collected: bool = False
    pickup_expired: bool = False
    implied: tuple[DerivedId, ...] = ()
    """Packages whose contents were inferred; a later report of contents takes units over."""
    given_up: tuple[DerivedId, ...] = ()
    last_scans: dict[str, UtcTime] = Field(default_factory=dict)
    """Package id -> when its newest carrier report occurred."""
    early: tuple[CarrierEvent, ...] = ()
    """Carrier reports on tracking numbers that no package has yet."""
    seen: tuple[EventId, ...] = ()
    revision: Count = 0

    @classmethod
    def of(cls, order: FulfillmentOrder) -> Self:
        """A new fulfillment: everything asked, nothing done. Lines of one id are added up."""
        asked: dict[str, int] = {}
        for line in order.lines:
            asked[line.line_id] = asked.get(line.line_id, 0) + line.quantity
        lines = tuple(LineState(line_id=x, asked=quantity) for x, quantity in asked.items())
        return cls(order=order, lines=lines)

    # By line at once: an order has up to 1,000 lines, each of them in a package of as many.

    @property
    def packed(self) -> Counter[str]:
        """Line id -> units in any package."""
        return _units(self.packages)

    @property
    def shipped(self) -> Counter[str]:
        """Line id -> units that left the node and were not given up."""
        return _units(x for x in self.packages if x.status in _ON_THE_WAY)

    @property
    def delivered(self) -> Counter[str]:
        """Line id -> units that reached the customer."""
        return _units(x for x in self.packages if x.status is PackageStatus.DELIVERED)

    @property
    def picked(self) -> dict[str, int]:
        """Line id -> units picked, as reported or as packing implies."""
        packed = self.packed
        return {
            x.line_id: min(max(x.reported_picked, packed[x.line_id]), x.expected)
            for x in self.lines
        }

    @property
    def expected(self) -> int:
        """Units of all lines that are still to reach the customer, or have."""
        return sum(line.expected for line in self.lines)

    @property
    def handed_over(self) -> bool:
        """Whether all that is left of it has left the node."""
        shipped = self.shipped
        left = all(line.expected == shipped[line.line_id] for line in self.lines)
        return left and self.expected > 0

    @property
    def status(self) -> FulfillmentStatus:
        """Derived: the least advanced of what is left; once nothing is, how it ended."""
        if self.expected == 0:
            return self._end_without_units()
        if self.handed_over:
            status = self._least_advanced_package()
            arrived = status is FulfillmentStatus.DELIVERED
            return FulfillmentStatus.COLLECTED if self.collected and arrived else status
        if self.node_status is FulfillmentStatus.READY_FOR_PICKUP:
            return self.node_status
        packed = self.packed
        if all(line.expected == packed[line.line_id] for line in self.lines):
            return self._least_advanced_package()
        if any(self.picked.values()):
            return FulfillmentStatus.PICKING
        return min(self.node_status, FulfillmentStatus.PICKING, key=_AT_NODE.index)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.status in CLOSED_FULFILLMENTS

    @property
    def unlabelled(self) -> tuple[Package, ...]:
        """Packed packages that wait for a label of ours."""
        if self.ships_itself or self.order.method == Method.PICKUP:
            return ()
        return tuple(
            x for x in self.packages if x.status not in _ON_THE_WAY and x.tracking_number is None
        )

    def _end_without_units(self) -> FulfillmentStatus:
        if self.pickup_expired:
            return FulfillmentStatus.PICKUP_EXPIRED
        if self.given_up:
            return FulfillmentStatus.RETURNED
        if any(line.cancelled for line in self.lines):
            return FulfillmentStatus.CANCELLED
        return FulfillmentStatus.REJECTED

    def _least_advanced_package(self) -> FulfillmentStatus:
        statuses = [package.status for package in self.packages]
        return _OF_PACKAGE[min(statuses, key=_LEAST_FIRST.index)]


def _contents(packages: Iterable[Package], line_id: str) -> int:
    return sum(x.quantity for package in packages for x in package.lines if x.line_id == line_id)


def _units(packages: Iterable[Package]) -> Counter[str]:
    """Line id -> units in those packages."""
    units: Counter[str] = Counter()
    for package in packages:
        for line in package.lines:
            units[line.line_id] += line.quantity
    return units


LineUnits = tuple[tuple[str, int], ...]
"""(Line id, units) pairs."""


class Effects(Model):
    """What a report newly changes and others must act on; empty for a repeated report."""

    shortfalls: tuple[Shortfall, ...] = ()
    """Units that newly return to the order; reason is a ShortReason, `rejected`, `lost`, ..."""
    needs_labels: bool = False
    handed_over_lines: LineUnits = ()
    """Units that newly left the node: stock to consume."""
    delivered_lines: LineUnits = ()
    cancelled: LineUnits = ()
    """Units newly cancelled: stock to free where they were still at the node."""
    needs_attention: str | None = None
    """A package is lost or came back: a person must choose."""
    duplicate: bool = False
    closed: bool = False


Outcome = tuple[FulfillmentState, Effects]


@dataclass(slots=True)
class _Draft:
    """A state being changed."""

    state: FulfillmentState
    lines: dict[str, LineState]
    packages: dict[str, Package]
    trouble: str | None = None

    @classmethod
    def of(cls, state: FulfillmentState) -> "_Draft":
        lines = {line.line_id: line for line in state.lines}
        return cls(state, lines, {x.package_id: x for x in state.packages})

    def set(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)

    def freeze(self) -> FulfillmentState:
        return self.state.model_copy(
            update={
                "lines": tuple(self.lines.values()),
                "packages": tuple(self.packages.values()),
                "revision": self.state.revision + 1,
            }
        )

    def shipped(self, line_id: str) -> int:
        there = (x for x in self.packages.values() if x.status in _ON_THE_WAY)
        return _contents(there, line_id)

    def unpacked(self, line_id: str) -> int:
        return self.lines[line_id].expected - _contents(self.packages.values(), line_id)

    def at_node(self, line_id: str) -> int:
        """Units that have not left the node, and so can still be short or cancelled."""
        return self.lines[line_id].expected - self.shipped(line_id)

    def reach(self, status: FulfillmentStatus) -> None:
        """The node is at least so far."""
        self.set(node_status=max(self.state.node_status, status, key=_AT_NODE.index))

    def give_back(self, line_id: str, quantity: int, reason: str) -> None:
        quantity = min(quantity, self.at_node(line_id))
        if quantity > 0:
            line = self.lines[line_id]
            given = {**line.given_back, reason: line.given_back.get(reason, 0) + quantity}
            self.lines[line_id] = line.model_copy(update={"given_back": given})
            self._trim(line_id)

    def cancel(self, line_id: str, quantity: int) -> None:
        quantity = min(quantity, self.at_node(line_id))
        line = self.lines[line_id]
        self.lines[line_id] = line.model_copy(update={"cancelled": line.cancelled + quantity})
        self._trim(line_id)

    def _trim(self, line_id: str) -> None:
        """Take units that are no longer expected out of packages still at the node."""
        excess = -self.unpacked(line_id)
        for package in reversed(list(self.packages.values())):
            there = _contents([package], line_id)
            if excess > 0 and there and package.status not in _ON_THE_WAY:
                taken = min(excess, there)
                excess -= taken
                self.take_out(package, line_id, taken)

    def take_out(self, package: Package, line_id: str, quantity: int) -> None:
        lines = tuple(
            x if x.line_id != line_id else x.model_copy(update={"quantity": x.quantity - quantity})
            for x in package.lines
            if x.line_id != line_id or x.quantity > quantity
        )
        if lines:
            changed = package.model_copy(update={"lines": lines})
            self.packages[package.package_id] = changed
        else:
            del self.packages[package.package_id]


def _lines(units: dict[str, int]) -> tuple[PackageLine, ...]:
    return tuple(PackageLine(line_id=x, quantity=units[x]) for x in units if units[x] > 0)


def _finish(before: FulfillmentState, draft: _Draft) -> Outcome:
    """Freeze the draft and say what changed."""
    _apply_early(draft)
    after = draft.freeze()
    known = {line.line_id: line for line in before.lines}
    shortfalls = tuple(
        Shortfall(line_id=line.line_id, quantity=more, reason=reason)
        for line in after.lines
        for reason, units in line.given_back.items()
        if (more := units - known[line.line_id].given_back.get(reason, 0)) > 0
    )
    cancelled = [(x.line_id, x.cancelled - known[x.line_id].cancelled) for x in after.lines]
    return after, Effects(
        shortfalls=shortfalls,
        needs_labels=bool(after.unlabelled),
        handed_over_lines=_more(after, before.shipped, after.shipped),
        delivered_lines=_more(after, before.delivered, after.delivered),
        cancelled=tuple(x for x in cancelled if x[1] > 0),
        needs_attention=draft.trouble,
        closed=after.is_closed,
    )


def _more(state: FulfillmentState, before: Counter[str], after: Counter[str]) -> LineUnits:
    more = [(x.line_id, after[x.line_id] - before[x.line_id]) for x in state.lines]
    return tuple(x for x in more if x[1] > 0)


# --- what the node reports -----------------------------------------------------------------------


def apply_node_event(state: FulfillmentState, event: NodeEvent) -> Outcome:
    """The state after a node's report, and what it newly changes. A repeat changes nothing."""
    keys = _keys(event)
    if keys & set(state.seen):
        return state, Effects(duplicate=True, closed=state.is_closed)
    draft = _Draft.of(state)
    draft.set(seen=(*state.seen, *sorted(keys)))
    _APPLY[event.type](draft, event)
    return _finish(state, draft)


def _keys(event: NodeEvent) -> set[str]:
    """A cancel is known by its request too: the answer to the call may tell it first."""
    is_answer = event.type is NodeEventType.CANCELLED and event.request_id is not None
    return {event.event_id, f"cancel/{event.request_id}"} if is_answer else {event.event_id}


def _shorts(draft: _Draft, event: NodeEvent) -> None:
    for fact in _known(draft, event.lines):
        draft.give_back(fact.line_id, fact.short, fact.reason or ShortReason.OTHER)


def _known(draft: _Draft, facts: tuple[LineFact, ...]) -> list[LineFact]:
    return [fact for fact in facts if fact.line_id in draft.lines]


def _acknowledged(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.ACKNOWLEDGED)
    _shorts(draft, event)


def _picking(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PICKING)
    _count_picked(draft, event.lines)
    _shorts(draft, event)


def _picked(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PICKING)
    if any(fact.picked or fact.short for fact in event.lines):
        _count_picked(draft, event.lines)
    else:
        _all_picked(draft)
    _shorts(draft, event)


def _count_picked(draft: _Draft, facts: tuple[LineFact, ...]) -> None:
    for fact in _known(draft, facts):
        line = draft.lines[fact.line_id]
        picked = min(line.reported_picked + fact.picked, line.asked)
        draft.lines[fact.line_id] = line.model_copy(update={"reported_picked": picked})


def _all_picked(draft: _Draft) -> None:
    for line_id, line in draft.lines.items():
        draft.lines[line_id] = line.model_copy(update={"reported_picked": line.asked})


def _packed(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PACKED)
    _shorts(draft, event)
    if event.packages:
        _add_packages(draft, event.packages)
    else:
        _imply_package(draft, {x.line_id: x.picked for x in _known(draft, event.lines)})


def _add_packages(draft: _Draft, packages: tuple[Package, ...]) -> None:
    for package in packages:
        known = draft.packages.get(package.package_id)
        if known is not None:
            draft.packages[package.package_id] = _completed(known, package)
        elif package.package_id not in draft.state.given_up:
            _add_package(draft, package)


def _completed(known: Package, told: Package) -> Package:
    """Contents and status are told once; label, size and weight may follow."""
    news = told.model_dump(exclude={"package_id", "lines", "status"}, exclude_defaults=True)
    return known.model_copy(update=news)


def _add_package(draft: _Draft, package: Package) -> None:
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
    draft: _Draft, package: Package, status: PackageStatus
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
            there = 0 if source is None else _contents([source], told.line_id)
            more = min(wanted - taken, there)
            if source is not None and more > 0:
                draft.take_out(source, told.line_id, more)
                taken, status = taken + more, source.status
        units[told.line_id] = units.get(told.line_id, 0) + taken
    return units, status


def _imply_package(draft: _Draft, told: dict[str, int]) -> None:
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


def _ready_for_pickup(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.READY_FOR_PICKUP)
    _shorts(draft, event)
    _add_packages(draft, event.packages)
    _all_picked(draft)


def _handed_over(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.PACKED)
    _shorts(draft, event)
    _add_packages(draft, event.packages)
    if not draft.packages:
        _imply_package(draft, {})
    told = {package.package_id for package in event.packages}
    _ship(draft, [x for x in draft.packages if x in told or not told])


def _ship(draft: _Draft, package_ids: list[str]) -> None:
    for package_id in package_ids:
        package = draft.packages[package_id]
        if package.status not in _ON_THE_WAY:
            _set_status(draft, package_id, PackageStatus.SHIPPED)


def _set_status(draft: _Draft, package_id: str, status: PackageStatus) -> None:
    changed = draft.packages[package_id].model_copy(update={"status": status})
    draft.packages[package_id] = changed


def _collected(draft: _Draft, event: NodeEvent) -> None:
    draft.reach(FulfillmentStatus.READY_FOR_PICKUP)
    _shorts(draft, event)
    _add_packages(draft, event.packages)
    _imply_package(draft, {})
    for package_id in draft.packages:
        _set_status(draft, package_id, PackageStatus.DELIVERED)
    draft.set(collected=True)


def _rejected(draft: _Draft, event: NodeEvent) -> None:
    """The named units (a line without a number: all of it), or everything still at the node."""
    facts = _known(draft, event.lines)
    asked = {x.line_id: x.short or draft.lines[x.line_id].asked for x in facts}
    for line_id in list(draft.lines):
        quantity = asked.get(line_id, 0) if event.lines else draft.at_node(line_id)
        draft.give_back(line_id, quantity, REJECTED)


def _cancelled(draft: _Draft, event: NodeEvent) -> None:
    facts = _known(draft, event.lines)
    told = {x.line_id: x.short or draft.lines[x.line_id].asked for x in facts}
    _cancel(draft, told if event.lines else None)


def _cancel(draft: _Draft, told: dict[str, int] | None) -> None:
    for line_id in list(draft.lines):
        draft.cancel(line_id, draft.at_node(line_id) if told is None else told.get(line_id, 0))


def _cancel_refused(draft: _Draft, event: NodeEvent) -> None:
    """Nothing changes: the node goes on."""


_APPLY: dict[NodeEventType, Callable[[_Draft, NodeEvent], None]] = {
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


# --- what carriers report ------------------------------------------------------------------------


def apply_carrier_event(state: FulfillmentState, event: CarrierEvent) -> Outcome:
    """The state after a carrier's report on one package. A repeat changes nothing.

    A report on a tracking number no package has yet is kept, and counts once one has it.
    """
    if event.event_id in state.seen:
        return state, Effects(duplicate=True, closed=state.is_closed)
    draft = _Draft.of(state)
    draft.set(seen=(*state.seen, event.event_id), early=(*state.early, event))
    return _finish(state, draft)


def _apply_early(draft: _Draft) -> None:
    """Apply the kept carrier reports whose package is known by now."""
    waiting: list[CarrierEvent] = []
    for event in draft.state.early:
        number = event.tracking_number
        # What a node brings without a carrier has no tracking number: its own id stands for it.
        package = next(
            (x for x in draft.packages.values() if (x.tracking_number or x.package_id) == number),
            None,
        )
        if package is None:
            waiting.append(event)
        else:
            _scan(draft, package, event)
    draft.set(early=tuple(waiting))


_OF_CARRIER = {
    CarrierStatus.PRE_TRANSIT: PackageStatus.LABELLED,
    CarrierStatus.IN_TRANSIT: PackageStatus.SHIPPED,
    CarrierStatus.OUT_FOR_DELIVERY: PackageStatus.OUT_FOR_DELIVERY,
    CarrierStatus.EXCEPTION: PackageStatus.EXCEPTION,
    CarrierStatus.LOST: PackageStatus.LOST,
    CarrierStatus.RETURNED: PackageStatus.RETURNED,
    CarrierStatus.DELIVERED: PackageStatus.DELIVERED,
}
_FORWARD = (PackageStatus.PACKED, *_OF_CARRIER.values())
_ENDS = frozenset({PackageStatus.LOST, PackageStatus.RETURNED, PackageStatus.DELIVERED})


def _scan(draft: _Draft, package: Package, event: CarrierEvent) -> None:
    told = _OF_CARRIER[event.status]
    last = draft.state.last_scans.get(package.package_id)
    is_newest = last is None or event.occurred_at >= last
    status = _after_scan(package.status, told, is_newest=is_newest)
    if status is not package.status:
        _set_status(draft, package.package_id, status)
        if status in (PackageStatus.LOST, PackageStatus.RETURNED):
            draft.trouble = f"package {package.package_id} {status.value}"
    if is_newest:
        scans = {**draft.state.last_scans, package.package_id: event.occurred_at}
        draft.set(last_scans=scans)


def _after_scan(known: PackageStatus, told: PackageStatus, *, is_newest: bool) -> PackageStatus:
    """Forward only, but an exception comes and goes with the newest report."""
    forward = max(known, told, key=_FORWARD.index)
    if known in _ENDS or told in _ENDS:
        return forward
    if PackageStatus.EXCEPTION not in (known, told):
        return forward
    if is_newest and told in _ON_THE_WAY:
        return told
    # An old exception still says that the carrier has the package.
    return known if known in _ON_THE_WAY else PackageStatus.SHIPPED


# --- what doms itself does -----------------------------------------------------------------------


def attach_labels(state: FulfillmentState, packages: Iterable[Package]) -> FulfillmentState:
    """The state with labels (tracking number, carrier, cost ...) on the packages of those ids.

    Carrier reports that came before their label count with the next report.
    """
    draft = _Draft.of(state)
    for label in packages:
        known = draft.packages.get(label.package_id)
        if known is not None:
            draft.packages[label.package_id] = _completed(known, label)
            if known.status is PackageStatus.PACKED:
                _set_status(draft, label.package_id, PackageStatus.LABELLED)
    return draft.freeze()


def apply_cancel(
    state: FulfillmentState,
    lines: Iterable[tuple[str, int]] | None,
    *,
    request_id: str | None = None,
) -> Outcome:
    """Units the node confirmed as cancelled, as (line id, quantity); None: all still there.

    Never more than is still at the node. With a request id, a repeat (also as the node's own
    `cancelled` event to that request) changes nothing.
    """
    key = f"cancel/{request_id}"
    if request_id is not None and key in state.seen:
        return state, Effects(duplicate=True, closed=state.is_closed)
    draft = _Draft.of(state)
    if request_id is not None:
        draft.set(seen=(*state.seen, key))
    _cancel(draft, None if lines is None else dict(lines))
    return _finish(state, draft)


def expire_pickup(state: FulfillmentState) -> Outcome:
    """Nobody collected: what is still at the node goes back to the shelf and is cancelled."""
    draft = _Draft.of(state)
    _cancel(draft, None)
    draft.set(pickup_expired=True)
    return _finish(state, draft)


def give_up_packages(state: FulfillmentState, choice: Choice, reason: str) -> Outcome:
    """What a person chose for lost or returned packages, or, with none, for all on the way.

    RESHIP: the units return to the order for `reason`; CANCEL: they are cancelled; SKIP: they
    count as delivered. Raises IllegalTransitionError for any other choice.
    """
    if choice not in (Choice.RESHIP, Choice.CANCEL, Choice.SKIP):
        raise IllegalTransitionError(f"a package on its way cannot be settled by '{choice}'")
    draft = _Draft.of(state)
    for package in _unsettled(state):
        if choice is Choice.SKIP:
            _set_status(draft, package.package_id, PackageStatus.DELIVERED)
            continue
        del draft.packages[package.package_id]
        draft.set(given_up=(*draft.state.given_up, package.package_id))
        for content in package.lines:
            if choice is Choice.CANCEL:
                draft.cancel(content.line_id, content.quantity)
            else:
                draft.give_back(content.line_id, content.quantity, reason)
    return _finish(state, draft)


def _unsettled(state: FulfillmentState) -> list[Package]:
    troubled = (PackageStatus.LOST, PackageStatus.RETURNED)
    found = [package for package in state.packages if package.status in troubled]
    if found:
        return found
    away = _ON_THE_WAY - {PackageStatus.DELIVERED}
    return [package for package in state.packages if package.status in away]


# --- what others are told ------------------------------------------------------------------------


def _line_progress(state: FulfillmentState) -> tuple[LineProgress, ...]:
    picked, shipped, delivered = state.picked, state.shipped, state.delivered
    return tuple(
        LineProgress(
            line_id=line.line_id,
            picked=picked[line.line_id],
            shipped=shipped[line.line_id],
            delivered=delivered[line.line_id],
            cancelled=line.cancelled,
            returned_to_order=sum(line.given_back.values()),
        )
        for line in state.lines
    )


def progress_of(state: FulfillmentState, *, revision: int | None = None) -> FulfillmentProgress:
    """What the order is told; `revision` where the caller counts its own."""
    return FulfillmentProgress(
        fulfillment_id=state.order.fulfillment_id,
        revision=state.revision if revision is None else revision,
        status=state.status,
        lines=_line_progress(state),
        carriers=tuple(sorted({x.carrier for x in state.packages if x.carrier})),
    )


def view_of(
    state: FulfillmentState,
    *,
    revision: int | None = None,
    attention: Attention | None = None,
    awaits: str = "",
) -> FulfillmentView:
    """What the read model shows."""
    return FulfillmentView(
        fulfillment_id=state.order.fulfillment_id,
        order_id=state.order.order_id,
        revision=state.revision if revision is None else revision,
        status=state.status,
        lines=_line_progress(state),
        packages=state.packages,
        attention=attention,
        awaits=awaits,
        closed=state.is_closed,
    )
