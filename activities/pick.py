"""Pick: hand a fulfillment to the system that runs its node, and talk to that system about it."""

from temporalio import activity

from activities.context import Context
from activities.recording import FulfillmentRecord, write_fulfillment
from domain.errors import UnknownReferenceError
from domain.fulfillments import FulfillmentOrder, FulfillmentStatus
from domain.values import DerivedId, Id, Model
from integrations.node_system import Handover, NodeSystem
from store import addresses, network, orders
from store.engine import reading, transaction


class PickTask(FulfillmentRecord):
    """The fulfillment to hand over, and the connection that runs its node."""

    order: FulfillmentOrder
    connection_id: Id | None


class HandedToNode(Model):
    """What the node's system answered."""

    acknowledged: bool
    ships_itself: bool


class NodeTask(Model):
    """A call about a fulfillment that its node already has."""

    order_id: Id
    ship_group: Id
    fulfillment_id: DerivedId
    connection_id: Id


class AddressTaken(Model):
    """Whether the node could still use the new address."""

    taken: bool


class PickActivities:
    """Calls to WMS, POS and 3PL; each is idempotent by the fulfillment's id."""

    def __init__(self, context: Context) -> None:
        """Keep the engine and the node systems."""
        self._engine = context.engine
        self._systems = context.node_systems

    @activity.defn(name="pick", no_thread_cancel_exception=True)
    def pick(self, task: PickTask) -> HandedToNode:
        """Give the node its work; a node without a system finds it in its work list."""
        answer = HandedToNode(acknowledged=False, ships_itself=False)
        if task.connection_id is not None:
            receipt = self._system(task.connection_id).release(self._handover(task.order))
            answer = HandedToNode(
                acknowledged=receipt.acknowledged, ships_itself=receipt.ships_itself
            )
        with transaction(self._engine) as session:
            write_fulfillment(session, _as_answered(task, answer))
        return answer

    @activity.defn(name="remind", no_thread_cancel_exception=True)
    def remind(self, task: NodeTask) -> None:
        """Tell a silent node that it has work waiting."""
        self._system(task.connection_id).remind(task.fulfillment_id)

    @activity.defn(name="update_address", no_thread_cancel_exception=True)
    def update_address(self, task: NodeTask) -> AddressTaken:
        """Give the node the order's current address."""
        with reading(self._engine) as session:
            address = addresses.address_of(session, task.order_id, task.ship_group)
        if address is None:
            raise UnknownReferenceError(f"order {task.order_id} has no address to send to")
        taken = self._system(task.connection_id).update_address(task.fulfillment_id, address)
        return AddressTaken(taken=taken)

    @activity.defn(name="pickup_expired", no_thread_cancel_exception=True)
    def pickup_expired(self, task: NodeTask) -> None:
        """Tell the store that nobody came: the goods go back on the shelf."""
        self._system(task.connection_id).pickup_expired(task.fulfillment_id)

    def _system(self, connection_id: str) -> NodeSystem:
        with reading(self._engine) as session:
            return self._systems.get(network.connections(session)[connection_id])

    def _handover(self, order: FulfillmentOrder) -> Handover:
        with reading(self._engine) as session:
            document = orders.load_order(session, order.order_id)
            skus = sorted({line.sku for line in order.lines})
            products = network.products(session, skus)
            return Handover(
                order=order,
                ship_to=addresses.address_of(session, order.order_id, order.ship_group),
                customer_name=document.customer.name,
                weights={sku: products[sku].weight_grams for sku in skus if sku in products},
            )


def _as_answered(task: PickTask, answer: HandedToNode) -> PickTask:
    """The record with the node's own word: no later step may come for days."""
    if not answer.acknowledged:
        return task
    heard = {"status": FulfillmentStatus.ACKNOWLEDGED, "awaits": "the node to pick"}
    return task.model_copy(update={"view": task.view.model_copy(update=heard)})
