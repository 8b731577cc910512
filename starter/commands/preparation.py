"""What a database needs before orders come: schema, network, catalogue, stock, policies.

Everything here may be done again: what is there already stays as it is.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from config.policy_files import PolicyFile
from config.samples import Sample, load_exchange_rates
from domain.network import Network
from domain.orders import OrderType
from domain.policy_rollout import Scope
from domain.process_policy import ProcessPolicy
from starter.bulk.loaded import UnreadableInputError
from starter.bulk.olist import SERVICE, WMS_CONNECTION, OlistData
from store import inventory, network, policies
from store.engine import migrate, open_engine, reading, transaction
from store.inventory import StockCount

_ARRIVALS_AT_ONCE = 500


def prepare_database(url: str, sample: Sample) -> bool:
    """Bring the schema up to date; load the sample if there are no nodes. Whether it was loaded."""
    engine = open_engine(url)
    try:
        migrate(engine)
        with reading(engine) as session:
            if network.load_network(session).nodes:
                return False
        with transaction(engine) as session:
            load_sample_into(session, sample, datetime.now(UTC))
        return True
    finally:
        engine.dispose()


def load_sample_into(session: Session, sample: Sample, now: datetime) -> None:
    """Put network, products, stock, exchange rates and policies of the sample into the database."""
    network.import_network(session, sample.network, sample.products, now)
    rates = load_exchange_rates().into(sample.network.base_currency)
    network.set_exchange_rates(session, rates, now)
    counts = [
        StockCount(
            node_id=one.node_id,
            sku=one.sku,
            quantity=one.quantity,
            counted_at=now,
        )
        for one in sample.stock
    ]
    inventory.set_stock(session, counts, key="sample/stock", now=now)
    for policy in sample.policies:
        activate_policy(session, policy, now)


def activate_policy(session: Session, policy: PolicyFile, now: datetime) -> str:
    """Publish a policy and make it the active one for its own order types; its version."""
    version = policies.publish(session, policy.kind, policy.document, now)
    for scope in _scopes(policy):
        policies.activate(session, version, scope, now)
    return version


def _scopes(policy: PolicyFile) -> list[Scope]:
    handled = policy.policy
    if isinstance(handled, ProcessPolicy) and set(handled.order_types) != set(OrderType):
        return [Scope(order_type=order_type.value) for order_type in handled.order_types]
    return [Scope()]


def point_connections(url: str, addresses: Mapping[str, str]) -> None:
    """Set the address of connections, by id: the simulators' ports may differ at each start."""
    engine = open_engine(url)
    try:
        with transaction(engine) as session:
            loaded = network.load_network(session)
            moved = tuple(
                one.model_copy(update={"base_url": addresses[one.connection_id]})
                for one in loaded.connections
                if addresses.get(one.connection_id, one.base_url) != one.base_url
            )
            if moved:
                changed = Network(base_currency=loaded.base_currency, connections=moved)
                network.import_network(session, changed, (), datetime.now(UTC))
    finally:
        engine.dispose()


def prepare_olist(url: str, data: OlistData) -> dict[str, int]:
    """Load the data's sellers as nodes, its products and the stock its orders need; what came new.

    Raises UnreadableInputError when the network lacks the connection or service they use.
    """
    engine = open_engine(url)
    now = datetime.now(UTC)
    try:
        migrate(engine)
        products = data.products()
        with transaction(engine) as session:
            loaded = network.load_network(session)
            _check_carriage(loaded, data.folder)
            sellers = data.network(loaded.base_currency)
            network.import_network(session, sellers, products, now)
            if "BRL" not in {*network.exchange_rates(session), loaded.base_currency}:
                rates = load_exchange_rates().into(loaded.base_currency)
                network.set_exchange_rates(session, rates, now)
        arrivals = data.arrivals()
        for start in range(0, len(arrivals), _ARRIVALS_AT_ONCE):
            with transaction(engine) as session:
                for one in arrivals[start : start + _ARRIVALS_AT_ONCE]:
                    inventory.receive(
                        session, one.node_id, one.sku, one.quantity, key=one.key, now=now
                    )
        units = sum(one.quantity for one in arrivals)
        return {"nodes": len(sellers.nodes), "products": len(products), "units": units}
    finally:
        engine.dispose()


def _check_carriage(loaded: Network, folder: Path) -> None:
    if WMS_CONNECTION not in {one.connection_id for one in loaded.connections}:
        raise UnreadableInputError(
            f"{folder}: the sellers are run by the connection '{WMS_CONNECTION}', which the "
            "network lacks: run `doms up` once, which loads the sample network"
        )
    if SERVICE not in {one.service_id for one in loaded.services}:
        raise UnreadableInputError(
            f"{folder}: the sellers ship by the service '{SERVICE}', which the network lacks"
        )
