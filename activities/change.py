"""Changes to an order before it is released: a new address, a new version of its document."""

from temporalio import activity

from activities.context import Context
from activities.orders import OrderTask, load_facts
from activities.recording import now
from domain.plans import OrderFacts
from domain.values import DerivedId, Id, Model
from store import orders, policies
from store.engine import transaction


class AddressTask(Model):
    """The stored address to use for a ship group."""

    order_id: Id
    address_id: DerivedId


class ChangeActivities:
    """Changes that later steps will read from the store."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="use_address")
    def use_address(self, task: AddressTask) -> None:
        """Make the stored address the one its ship group goes to."""
        with transaction(self._engine) as session:
            orders.use_address(session, task.order_id, task.address_id, now())

    @activity.defn(name="load_version")
    def load_version(self, task: OrderTask) -> OrderFacts:
        """Load the facts of another version of the order's document."""
        with transaction(self._engine) as session:
            order = orders.load_order(session, task.order_id, task.version)
            return load_facts(session, order, policies.process_policy(session, task.process_policy))
