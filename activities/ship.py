"""Ship: rate-shop and buy a label for each package, and give the labels to the node."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.recording import FulfillmentRecord, write_fulfillment
from domain.catalogue import Product
from domain.errors import RefusedError
from domain.fulfillments import FulfillmentOrder, Package, PackageStatus
from domain.network import CarrierService, Place
from domain.orders import Address
from domain.planning import distance_km, place_of
from domain.values import DerivedId, Id, Model
from integrations.carrier.port import Carrier, Rate, ServiceOption, ShipmentRequest, VoidOutcome
from store import fulfillments, network, orders
from store.engine import reading, transaction


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

    @activity.defn(name="ship")
    def ship(self, task: ShipTask) -> Labelled:
        """Buy what is missing, store it, hand the labels to the node, record the fulfillment."""
        if activity.info().attempt > 1:
            # The carrier or the node lets it wait: meanwhile people see how far it is.
            with transaction(self._engine) as session:
                write_fulfillment(session, task)
        with reading(self._engine) as session:
            connections = network.connections(session)
        carrier = self._carriers.get(connections[task.carrier_connection_id])
        labelled = tuple(self._label(task, package, carrier) for package in task.packages)
        if task.connection_id is not None:
            system = self._systems.get(connections[task.connection_id])
            system.attach_labels(task.order.fulfillment_id, labelled)
        return Labelled(packages=labelled)

    @activity.defn(name="void_labels")
    def void_labels(self, task: VoidTask) -> None:
        """Void labels of units the node confirmed as cancelled; one already used is left alone."""
        with reading(self._engine) as session:
            connections = network.connections(session)
        carrier = self._carriers.get(connections[task.carrier_connection_id])
        for package in task.packages:
            shipment_id = package.shipment_id
            if shipment_id is None:
                continue
            key = f"{task.fulfillment_id}/{package.package_id}/void/{shipment_id}"
            if carrier.void(shipment_id, key) is VoidOutcome.VOIDED:
                with transaction(self._engine) as session:
                    fulfillments.void_label(
                        session, task.fulfillment_id, package.package_id, shipment_id
                    )

    def _label(self, task: ShipTask, package: Package, carrier: Carrier) -> Package:
        with reading(self._engine) as session:
            stored = fulfillments.packages(session, task.order.fulfillment_id)
            known = next((x for x in stored if x.package_id == package.package_id), package)
            if known.tracking_number is not None and known.status is not PackageStatus.VOIDED:
                return known
            key = _label_key(session, task.order.fulfillment_id, package.package_id)
            address = orders.address_of(
                session, task.order.order_id, task.order.ship_group, task.refused_addresses
            )
            products = network.products(session, sorted({x.sku for x in task.order.lines}))
            services = network.services_of(session, task.order.node_id)
            sender = network.node(session, task.order.node_id).place
            request = _shipment_request(task, package, sender, address, products).model_copy(
                update={"options": tuple(_option(service) for service in services)}
            )
        rate = _cheapest_in_time(carrier.rates(request), services, task)
        label = carrier.buy(request, rate.service, key)
        bought = package.model_copy(
            update={
                "carrier": label.carrier,
                "service": label.service,
                "tracking_number": label.tracking_number,
                "shipment_id": label.shipment_id,
                "label_url": label.label_url,
                "cost": f"{label.cost} {label.currency}",
                "weight_grams": request.weight_grams,
                "status": PackageStatus.LABELLED,
            }
        )
        with transaction(self._engine) as session:
            saved = fulfillments.save_label(
                session, task.order.fulfillment_id, bought, key, task.carrier_connection_id
            )
            view = task.view.model_copy(update={"packages": _merged(task.view.packages, saved)})
            write_fulfillment(session, task.model_copy(update={"view": view}))
            return saved


def _label_key(session: Session, fulfillment_id: str, package_id: str) -> str:
    """One label a key: those bought before for this package were voided, and bought no more."""
    voided = fulfillments.labels_bought(session, fulfillment_id, package_id)
    return f"{fulfillment_id}/{package_id}/label" + (f"-{voided + 1}" if voided else "")


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


def _cheapest_in_time(
    rates: Iterable[Rate], services: Iterable[CarrierService], task: ShipTask
) -> Rate:
    """The planned service, unless another of the node's is cheaper and no slower than planned."""
    offered = {rate.service: rate for rate in rates}
    own = [service for service in services if service.service_id in offered]
    if not own:
        raise RefusedError(
            f"the carrier offers {sorted(offered)} from {task.order.node_id}, none of its services:"
            " check the node's services in the network"
        )
    planned = next((x for x in own if x.service_id == task.order.service_id), own[0])
    in_time = [
        offered[x.service_id]
        for x in own
        if x.level == planned.level and x.transit_days <= planned.transit_days
    ]
    return min(in_time, key=lambda rate: (Decimal(rate.cost), rate.service))


def _merged(known: tuple[Package, ...], saved: Package) -> tuple[Package, ...]:
    if all(package.package_id != saved.package_id for package in known):
        return (*known, saved)
    return tuple(saved if x.package_id == saved.package_id else x for x in known)
