"""Changes to an order before it is released: a new address, a new version of its document."""

from temporalio import activity

from activities.context import Context
from activities.orders import OrderTask, load_facts
from activities.recording import now
from domain.orders import Order
from domain.plans import OrderFacts
from domain.values import DerivedId, Id, Model
from store import addresses, orders, policies
from store.engine import transaction


class AddressTask(Model):
    """The stored address to use for a ship group."""

    order_id: Id
    address_id: DerivedId


class VersionTask(OrderTask):
    """A version to change to; `known` is the one the order has now."""

    known: int | None = None


class ChangeActivities:
    """Changes that later steps will read from the store."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="use_address", no_thread_cancel_exception=True)
    def use_address(self, task: AddressTask) -> None:
        """Make the stored address the one its ship group goes to."""
        with transaction(self._engine) as session:
            addresses.use_address(session, task.order_id, task.address_id, now())

    @activity.defn(name="load_version", no_thread_cancel_exception=True)
    def load_version(self, task: VersionTask) -> OrderFacts:
        """Load the facts of another version of the order's document, and what it moves."""
        with transaction(self._engine) as session:
            order = orders.load_order(session, task.order_id, task.version)
            policy = policies.process_policy(session, task.process_policy)
            facts = load_facts(session, order, policy)
            if task.known is None:
                return facts
            before = orders.load_order(session, task.order_id, task.known)
            return facts.model_copy(update={"moved_groups": _moved(before, order)})


def _moved(before: Order, after: Order) -> tuple[str, ...]:
    known = {group.id: group for group in before.ship_groups}
    return tuple(x.id for x in after.ship_groups if x.id in known and x != known[x.id])
