from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from config.samples import load_sample
from config.settings import Settings
from domain.network import Network
from domain.policy_rollout import Whose
from starter.bulk.loaded import UnreadableInputError
from starter.bulk.olist import OlistData
from starter.commands.local_store import create_api_key
from starter.commands.preparation import point_connections, prepare_database, prepare_olist
from store import api_keys, inventory, network, policies
from store.engine import migrate, open_engine, reading, transaction
from tests.unit.starter_bulk.test_olist import FILES, SELLER


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'doms.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_engine(url)
    yield opened
    opened.dispose()


@pytest.fixture
def data(tmp_path: Path) -> OlistData:
    folder = tmp_path / "olist"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return OlistData(folder)


def test_a_fresh_database_gets_the_sample_once(url: str, engine: Engine) -> None:
    assert prepare_database(url, load_sample())
    with reading(engine) as session:
        version = network.network_version(session)
        stock = inventory.availability(session, ["MUG-BLUE"])
        active = {
            order_type: policies.active(
                session,
                "process",
                Whose(brand="b", region="r", order_type=order_type, channel="c"),
                datetime.now(UTC),
            )[1]["name"]
            for order_type in ("b2c", "b2b")
        }
        assert len(network.load_network(session).nodes) == 13
        assert network.exchange_rates(session)["EUR"] == "1.08000000"
    assert stock["MUG-BLUE"]["store-portland"] == 14
    assert active == {"b2c": "standard-b2c", "b2b": "standard-b2b"}

    assert not prepare_database(url, load_sample(fast=True))
    with reading(engine) as session:
        assert network.network_version(session) == version
        assert inventory.unexplained(session) == []


def test_a_database_with_other_nodes_is_left_as_it_is(url: str, engine: Engine) -> None:
    sample = load_sample()
    own = Network(nodes=(sample.network.nodes[0].model_copy(update={"connection_id": None}),))
    migrate(engine)
    with transaction(engine) as session:
        network.import_network(session, own, (), sample_time())

    assert not prepare_database(url, sample)

    with reading(engine) as session:
        assert [x.node_id for x in network.load_network(session).nodes] == ["dc-newark"]


def sample_time() -> datetime:
    return datetime(2026, 5, 1, tzinfo=UTC)


def test_connections_are_pointed_to_where_the_simulators_are(url: str, engine: Engine) -> None:
    prepare_database(url, load_sample())
    with reading(engine) as session:
        version = network.network_version(session)

    point_connections(url, {"wms-main": "http://127.0.0.1:8091"})
    with reading(engine) as session:
        assert network.network_version(session) == version

    point_connections(url, {"wms-main": "http://127.0.0.1:9999", "unknown": "http://x"})
    with reading(engine) as session:
        assert network.connection(session, "wms-main").base_url == "http://127.0.0.1:9999"
        assert network.connection(session, "pos-stores").base_url == "http://127.0.0.1:8092"


def test_olist_orders_find_their_sellers_and_stock_however_often_it_is_loaded(
    url: str, engine: Engine, data: OlistData
) -> None:
    prepare_database(url, load_sample())

    first = prepare_olist(url, data)
    again = prepare_olist(url, data)

    assert first == again == {"nodes": 2, "products": 2, "units": 5}
    with reading(engine) as session:
        loaded = network.load_network(session)
        stock = inventory.availability(session, ["p1", "p2"])
        assert inventory.unexplained(session) == []
    assert loaded.base_currency == "USD"
    assert len(loaded.nodes) == 15
    assert stock["p1"] == {f"seller-{SELLER}": 2}
    assert stock["p2"] == {f"seller-{SELLER}": 2, f"seller-{'b' * 32}": 1}


def test_olist_needs_the_connection_its_sellers_are_run_by(url: str, data: OlistData) -> None:
    with pytest.raises(UnreadableInputError, match="run `doms up` once, which loads the sample"):
        prepare_olist(url, data)


def test_a_made_key_opens_what_its_roles_open(tmp_path: Path, url: str, engine: Engine) -> None:
    migrate(engine)

    made = create_api_key(Settings(home=tmp_path, database_url=url), "shop", ["intake"])

    with reading(engine) as session:
        caller = api_keys.check(session, made)
    assert caller is not None
    assert (caller.name, list(caller.roles)) == ("shop", ["intake"])
