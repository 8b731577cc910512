"""Ship: rate-shop and buy a label for each package, and give the labels to the node."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.recording import FulfillmentRecord, now, write_fulfillment
from domain.catalogue import Product
from domain.errors import DomsError, OutsideUnavailableError, RefusedError
from domain.fulfillments import FulfillmentOrder, Package, PackageStatus
from domain.network import CarrierService, Connection, Place
from domain.orders import Address
from domain.planning import distance_km, place_of
from domain.values import DerivedId, Id, Model
from integrations.carrier.port import Label, Rate, ServiceOption, ShipmentRequest, VoidOutcome
from store import addresses, fulfillments, labels, network
from store.engine import reading, transaction
from store.labels import LabelDraft, LabelImage

LABELLED = "labelled"
"""The kind of the line of the story that is true once a label is kept."""


class ShipTask(FulfillmentRecord):
    """Packages to label, and the carrier connection that labels them."""

    order: FulfillmentOrder
    packages: tuple[Package, ...]
    connection_id: Id | None
    carrier_connection_id: Id
    refused_addresses: tuple[DerivedId, ...] = ()
    """Addresses the node was past changing to: its parcels go where they went before."""


class Labelled(Model):
    """The packages with carrier, tracking number and label."""

    packages: tuple[Package, ...]


class VoidTask(Model):
    """Labels that will not be used."""

    order_id: Id
    fulfillment_id: str
    carrier_connection_id: Id
    packages: tuple[Package, ...]


class ShipActivities:
    """Carrier calls. A label is stored before the node hears of it: a retry buys no second one."""

    def __init__(self, context: Context) -> None:
        """Keep the engine and the outside systems."""
        self._engine = context.engine
        self._systems = context.node_systems
        self._carriers = context.carriers
        self._api_url = context.api_url

    @activity.defn(name="ship", no_thread_cancel_exception=True)
    def ship(self, task: ShipTask) -> Labelled:
        """Buy what is missing, store it, hand the labels to the node, record the fulfillment."""
        if activity.info().attempt > 1:
            # The carrier or the node lets it wait: meanwhile people see how far it is.
            so_far = tuple(entry for entry in task.timeline if entry.kind != LABELLED)
            with transaction(self._engine) as session:
                write_fulfillment(session, task.model_copy(update={"timeline": so_far}))
        with reading(self._engine) as session:
            connections = network.connections(session)
        labelled = tuple(self._label(task, package, connections) for package in task.packages)
        if task.connection_id is not None:
            system = self._systems.get(connections[task.connection_id])
            system.attach_labels(task.order.fulfillment_id, labelled)
        return Labelled(packages=labelled)

    @activity.defn(name="void_labels", no_thread_cancel_exception=True)
    def void_labels(self, task: VoidTask) -> None:
        """Void labels of units the node confirmed as cancelled; one already used is left alone."""
        with reading(self._engine) as session:
            connections = network.connections(session)
        for package in task.packages:
            shipment_id = package.shipment_id
            if shipment_id is None:
                continue
            place = (task.fulfillment_id, package.package_id, shipment_id)
            with reading(self._engine) as session:
                seller = labels.bought_from(session, *place) or task.carrier_connection_id
            carrier = self._carriers.get(connections[seller])
            key = f"{task.fulfillment_id}/{package.package_id}/void/{shipment_id}"
            if carrier.void(shipment_id, key) is VoidOutcome.VOIDED:
                with transaction(self._engine) as session:
                    fulfillments.void_label(session, *place)

    def _label(
        self, task: ShipTask, package: Package, connections: Mapping[str, Connection]
    ) -> Package:
        fulfillment_id = task.order.fulfillment_id
        with reading(self._engine) as session:
            stored = fulfillments.packages(session, fulfillment_id)
            known = next((x for x in stored if x.package_id == package.package_id), package)
            if known.tracking_number is not None and known.status is not PackageStatus.VOIDED:
                return known
            key = _label_key(session, fulfillment_id, package.package_id)
            draft = labels.draft_of(session, fulfillment_id, key)
            services = network.services_of(session, task.order.node_id)
            request = _request(session, task, package)
        seller, label = self._obtain(task, request, services, connections, key, draft)
        return self._keep(task, package, request, label, key, seller)

    def _obtain(
        self,
        task: ShipTask,
        request: ShipmentRequest,
        services: tuple[CarrierService, ...],
        connections: Mapping[str, Connection],
        key: str,
        draft: LabelDraft | None,
    ) -> tuple[str, Label]:
        """The label and the connection that sold it."""
        fulfillment_id = task.order.fulfillment_id
        if draft is not None:
            # An earlier attempt's answer was lost: what it bought is found, never bought again.
            carrier = self._carriers.get(connections[draft.connection_id])
            label = carrier.find_label(request, key, draft.shipment_id)
            if label is not None:
                return draft.connection_id, label
        if draft is None or draft.request_hash != _hash(request):
            draft = self._shop(request, services, task, connections)
            with transaction(self._engine) as session:
                labels.save_draft(session, fulfillment_id, key, draft)
        label = self._buy(request, draft, fulfillment_id, key, connections)
        return draft.connection_id, label

    def _shop(
        self,
        request: ShipmentRequest,
        services: tuple[CarrierService, ...],
        task: ShipTask,
        connections: Mapping[str, Connection],
    ) -> LabelDraft:
        """The cheapest rate in time of all carriers the node has; one may be away or refuse."""
        sellers = sorted({x.connection_id for x in services} or {task.carrier_connection_id})
        rates: list[tuple[Rate, str]] = []
        failures: list[DomsError] = []
        for seller in sellers:
            asked = tuple(x for x in services if x.connection_id == seller)
            options = tuple(_option(service) for service in asked)
            try:
                carrier = self._carriers.get(connections[seller])
                offered = carrier.rates(request.model_copy(update={"options": options}))
            except (OutsideUnavailableError, RefusedError) as failure:
                failures.append(failure)
            else:
                rates.extend((rate, seller) for rate in offered)
        if not rates and failures:
            raise next((x for x in failures if isinstance(x, OutsideUnavailableError)), failures[0])
        rate, seller = cheapest_in_time(rates, services, task.order, now(task))
        return LabelDraft(
            connection_id=seller,
            service=rate.service,
            shipment_id=rate.shipment_id,
            request_hash=_hash(request),
        )

    def _buy(
        self,
        request: ShipmentRequest,
        draft: LabelDraft,
        fulfillment_id: str,
        key: str,
        connections: Mapping[str, Connection],
    ) -> Label:
        carrier = self._carriers.get(connections[draft.connection_id])
        try:
            return carrier.buy(request, draft.service, key, draft.shipment_id)
        except RefusedError:
            # Not bought: once a person has corrected what was wrong, it is rated afresh.
            with transaction(self._engine) as session:
                labels.drop_draft(session, fulfillment_id, key)
            raise

    def _keep(
        self,
        task: ShipTask,
        package: Package,
        request: ShipmentRequest,
        label: Label,
        key: str,
        seller: str,
    ) -> Package:
        fulfillment_id = task.order.fulfillment_id
        bought = package.model_copy(
            update={
                "carrier": label.carrier,
                "service": label.service,
                "tracking_number": label.tracking_number,
                "shipment_id": label.shipment_id,
                "label_url": label.label_url,
                "cost": None if label.cost is None else f"{label.cost} {label.currency}",
                "weight_grams": request.weight_grams,
                "status": PackageStatus.LABELLED,
            }
        )
        with transaction(self._engine) as session:
            if label.image is not None:
                picture = LabelImage(**label.image.model_dump())
                token = labels.save_image(session, fulfillment_id, key, picture, now(task))
                url = f"{self._api_url}/v1/labels/{token}"
                bought = bought.model_copy(update={"label_url": url})
            saved = fulfillments.save_label(session, fulfillment_id, bought, key, seller)
            labels.drop_draft(session, fulfillment_id, key)
            view = task.view.model_copy(update={"packages": _merged(task.view.packages, saved)})
            write_fulfillment(session, task.model_copy(update={"view": view}))
            return saved


def _label_key(session: Session, fulfillment_id: str, package_id: str) -> str:
    """One label a key: those bought before for this package were voided, and bought no more."""
    voided = fulfillments.labels_bought(session, fulfillment_id, package_id)
    return f"{fulfillment_id}/{package_id}/label" + (f"-{voided + 1}" if voided else "")


def _request(session: Session, task: ShipTask, package: Package) -> ShipmentRequest:
    order = task.order
    address = addresses.address_of(
        session, order.order_id, order.ship_group, task.refused_addresses
    )
    products = network.products(session, sorted({x.sku for x in order.lines}))
    sender = network.node(session, order.node_id).place
    return _shipment_request(task, package, sender, address, products)


def _hash(request: ShipmentRequest) -> str:
    asked = request.model_dump_json(exclude={"options"})
    return sha256(asked.encode()).hexdigest()


def _shipment_request(
    task: ShipTask,
    package: Package,
    sender: Place,
    address: Address | None,
    products: Mapping[str, Product],
) -> ShipmentRequest:
    skus = {line.line_id: line.sku for line in task.order.lines}
    contents = sum(
        products[skus[line.line_id]].weight_grams * line.quantity
        for line in package.lines
        if line.line_id in skus and skus[line.line_id] in products
    )
    return ShipmentRequest(
        reference=f"{task.order.fulfillment_id}/{package.package_id}",
        fulfillment_id=task.order.fulfillment_id,
        node_id=task.order.node_id,
        ship_from=sender,
        ship_to=address,
        distance_km=distance_km(sender, place_of(address)) if address else None,
        weight_grams=package.weight_grams or contents,
        length_mm=package.length_mm,
        width_mm=package.width_mm,
        height_mm=package.height_mm,
    )


def _option(service: CarrierService) -> ServiceOption:
    return ServiceOption(
        service_id=service.service_id,
        level=service.level,
        base=service.base,
        per_kg=service.per_kg,
        per_km=service.per_km,
    )


def cheapest_in_time(
    rates: Iterable[tuple[Rate, str]],
    services: Iterable[CarrierService],
    order: FulfillmentOrder,
    at: datetime,
) -> tuple[Rate, str]:
    """The cheapest rate, and its connection, that keeps the promise.

    In time is what arrives by the promised day by the carrier's own word, and what the node's
    services call as fast as the planned one where the carrier says nothing or nothing was
    promised. Where nothing is in time, it is the planned service, or else the fastest. Raises
    RefusedError where no service of the node is offered.
    """
    own = {service.service_id: service for service in services}
    offered = [(rate, seller) for rate, seller in rates if _sells(own, rate, seller)]
    if not offered:
        names = sorted({rate.service for rate, _ in rates})
        raise RefusedError(
            f"the carrier offers {names} from {order.node_id}, none of its services:"
            " check the node's services in the network"
        )
    first = offered[0][0].service
    planned = own.get(order.service_id or "", own[first])
    in_time = [x for x in offered if _is_in_time(x[0], own[x[0].service], planned, order, at)]
    if in_time:
        return min(in_time, key=lambda x: (x[0].cost, x[0].service))
    return min(
        offered,
        key=lambda x: (x[0].service != planned.service_id, _days(x[0], own), x[0].cost),
    )


def _sells(own: Mapping[str, CarrierService], rate: Rate, seller: str) -> bool:
    return rate.service in own and own[rate.service].connection_id == seller


def _days(rate: Rate, own: Mapping[str, CarrierService]) -> int:
    days = rate.delivery_days
    return own[rate.service].transit_days if days is None else days


def _is_in_time(
    rate: Rate,
    service: CarrierService,
    planned: CarrierService,
    order: FulfillmentOrder,
    at: datetime,
) -> bool:
    if order.deliver_by is not None and rate.delivery_days is not None:
        return at.date() + timedelta(days=rate.delivery_days) <= order.deliver_by.date()
    return service.level == planned.level and service.transit_days <= planned.transit_days


def _merged(known: tuple[Package, ...], saved: Package) -> tuple[Package, ...]:
    if all(package.package_id != saved.package_id for package in known):
        return (*known, saved)
    return tuple(saved if x.package_id == saved.package_id else x for x in known)
