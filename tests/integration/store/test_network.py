from decimal import Decimal

import pytest
from sqlalchemy import Engine

from domain.catalogue import Product
from domain.errors import UnknownReferenceError
from store import network
from store.engine import reading, transaction
from tests.integration.store.builders import NODES, NOW, PRODUCTS, a_network, a_node, a_world


def test_a_network_comes_back_as_it_was_imported(engine: Engine) -> None:
    a_world(engine)
    with reading(engine) as session:
        loaded = network.load_network(session)
        assert loaded.nodes == tuple(sorted(NODES, key=lambda node: node.node_id))
        assert {x.connection_id for x in loaded.connections} == {"wms-1", "parcels"}
        assert loaded.services == a_network().services
        assert network.node(session, "A") == NODES[0]
        assert network.connection(session, "parcels").vendor == "reference"
        assert network.products(session, ["X", "Y", "NONE"]) == {
            "X": Product(sku="X"),
            "Y": Product(sku="Y"),
        }
        assert network.base_currency(session) == "USD"


def test_an_import_that_changes_nothing_keeps_the_version(engine: Engine) -> None:
    with transaction(engine) as session:
        first = network.import_network(session, a_network(*NODES), PRODUCTS, NOW)
        again = network.import_network(session, a_network(*NODES), PRODUCTS, NOW)
    assert again == first


def test_every_kind_of_change_makes_a_new_version(engine: Engine) -> None:
    a_world(engine)
    with transaction(engine) as session:
        seen = [network.network_version(session)]
        changed = a_node("A", daily_units=7)
        seen.append(network.import_network(session, a_network(changed), (), NOW))
        seen.append(
            network.import_network(session, a_network(), [Product(sku="X", weight_grams=5)], NOW)
        )
        euro = a_network().model_copy(update={"base_currency": "EUR"})
        seen.append(network.import_network(session, euro, (), NOW))
        seen.append(network.set_exchange_rates(session, {"USD": Decimal("0.9")}, NOW))
        assert network.set_exchange_rates(session, {"USD": Decimal("0.9")}, NOW) == seen[-1]
        assert network.network_version(session) == seen[-1]
    assert len(set(seen)) == len(seen) == 5


def test_the_cached_network_follows_a_change(engine: Engine) -> None:
    a_world(engine)
    with reading(engine) as session:
        assert {x.service_id for x in network.services_of(session, "A")} == {"ground"}
        assert set(network.connections(session)) == {"wms-1", "parcels"}
    with transaction(engine) as session:
        network.import_network(session, a_network(a_node("A", services=())), (), NOW)
        network.set_exchange_rates(session, {"EUR": Decimal("1.10")}, NOW)
    with reading(engine) as session:
        known = network.known_network(session)
        assert network.services_of(session, "A") == ()
        assert known.exchange_rates == network.exchange_rates(session) == {"EUR": "1.10"}


def test_unknown_places_are_named(engine: Engine) -> None:
    a_world(engine)
    with reading(engine) as session:
        with pytest.raises(UnknownReferenceError, match="no node 'Z'"):
            network.node(session, "Z")
        with pytest.raises(UnknownReferenceError, match="no node 'Z'"):
            network.services_of(session, "Z")
        with pytest.raises(UnknownReferenceError, match="no connection 'Z'"):
            network.connection(session, "Z")


def test_an_empty_database_has_an_empty_network(engine: Engine) -> None:
    with reading(engine) as session:
        assert network.load_network(session).nodes == ()
        assert network.network_version(session) == "0"
        assert network.base_currency(session) == "USD"
