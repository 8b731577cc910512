"""What doms and its people do to a fulfillment: label, cancel, expire, give up."""

from collections.abc import Iterable

from domain.errors import IllegalTransitionError
from domain.fulfillment_draft import Draft, completed
from domain.fulfillment_effects import Effects, Outcome, finish
from domain.fulfillment_state import FulfillmentState
from domain.fulfillments import ON_THE_WAY, Package, PackageStatus
from domain.stages import Choice


def attach_labels(state: FulfillmentState, packages: Iterable[Package]) -> FulfillmentState:
    """The state with labels (tracking number, carrier, cost ...) on the packages of those ids.

    Carrier reports that came before their label count with the next report.
    """
    draft = Draft.of(state)
    for label in packages:
        known = draft.packages.get(label.package_id)
        if known is not None:
            draft.packages[label.package_id] = completed(known, label)
            if known.status is PackageStatus.PACKED:
                draft.set_status(label.package_id, PackageStatus.LABELLED)
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
    draft = Draft.of(state)
    if request_id is not None:
        draft.set(seen=(*state.seen, key))
    draft.cancel_lines(None if lines is None else dict(lines))
    return finish(state, draft)


def expire_pickup(state: FulfillmentState) -> Outcome:
    """Nobody collected: what is still at the node goes back to the shelf and is cancelled."""
    draft = Draft.of(state)
    draft.cancel_lines(None)
    draft.set(pickup_expired=True)
    return finish(state, draft)


def give_up_packages(state: FulfillmentState, choice: Choice, reason: str) -> Outcome:
    """What a person chose for lost or returned packages, or, with none, for all on the way.

    RESHIP: the units return to the order for `reason`; CANCEL: they are cancelled; SKIP: they
    count as delivered. Raises IllegalTransitionError for any other choice.
    """
    if choice not in (Choice.RESHIP, Choice.CANCEL, Choice.SKIP):
        raise IllegalTransitionError(f"a package on its way cannot be settled by '{choice}'")
    draft = Draft.of(state)
    for package in _unsettled(state):
        if choice is Choice.SKIP:
            draft.set_status(package.package_id, PackageStatus.DELIVERED)
            continue
        del draft.packages[package.package_id]
        draft.set(given_up=(*draft.state.given_up, package.package_id))
        for content in package.lines:
            if choice is Choice.CANCEL:
                draft.cancel(content.line_id, content.quantity)
            else:
                draft.give_back(content.line_id, content.quantity, reason)
    return finish(state, draft)


def _unsettled(state: FulfillmentState) -> list[Package]:
    troubled = (PackageStatus.LOST, PackageStatus.RETURNED)
    found = [package for package in state.packages if package.status in troubled]
    if found:
        return found
    away = ON_THE_WAY - {PackageStatus.DELIVERED}
    return [package for package in state.packages if package.status in away]
