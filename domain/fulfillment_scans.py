"""What carriers' reports make of packages."""

from domain.events import CarrierEvent, CarrierStatus
from domain.fulfillment_draft import Draft
from domain.fulfillments import ON_THE_WAY, Package, PackageStatus

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


def apply_early(draft: Draft) -> None:
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


def _scan(draft: Draft, package: Package, event: CarrierEvent) -> None:
    told = _OF_CARRIER[event.status]
    last = draft.state.last_scans.get(package.package_id)
    is_newest = last is None or event.occurred_at >= last
    status = _after_scan(package.status, told, is_newest=is_newest)
    if status is not package.status:
        draft.set_status(package.package_id, status)
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
    if is_newest and told in ON_THE_WAY:
        return told
    # An old exception still says that the carrier has the package.
    return known if known in ON_THE_WAY else PackageStatus.SHIPPED
