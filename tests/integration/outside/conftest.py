from collections.abc import Iterator
from itertools import count

import pytest

from integrations.carrier.port import Carrier
from integrations.http import open_client
from integrations.node_system import NodeSystem
from integrations.registry import Carriers, NodeSystems
from integrations.threepl.port import ThirdPartyWarehouse
from tests.integration.outside.world import SECRETS, Receiver, Simulator, receiving

_numbers = count(1)


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    found, server = receiving()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def simulators(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Simulator]]:
    folder = tmp_path_factory.mktemp("simulators")
    carrier = Simulator("carrier", folder, receiver.url)
    running = {
        "carrier": carrier,
        "wms": Simulator("wms", folder, receiver.url, carrier=carrier.url),
        "pos": Simulator("pos", folder, receiver.url, carrier=carrier.url),
        "threepl": Simulator(
            "threepl", folder, receiver.url, options=("--api-key-env", "OUTSIDE_API_KEY")
        ),
    }
    for simulator in running.values():
        simulator.start()
    for simulator in running.values():
        simulator.wait()
    yield running
    for simulator in running.values():
        simulator.stop()


@pytest.fixture
def wms(simulators: dict[str, Simulator]) -> Iterator[Simulator]:
    yield simulators["wms"]
    simulators["wms"].reset()


@pytest.fixture
def pos(simulators: dict[str, Simulator]) -> Iterator[Simulator]:
    yield simulators["pos"]
    simulators["pos"].reset()


@pytest.fixture
def threepl(simulators: dict[str, Simulator]) -> Iterator[Simulator]:
    yield simulators["threepl"]
    simulators["threepl"].reset()


@pytest.fixture
def carrier(simulators: dict[str, Simulator]) -> Iterator[Simulator]:
    yield simulators["carrier"]
    simulators["carrier"].reset()


@pytest.fixture
def warehouse(wms: Simulator) -> NodeSystem:
    return NodeSystems(SECRETS, client=open_client()).get(wms.connection())


@pytest.fixture
def store(pos: Simulator) -> NodeSystem:
    return NodeSystems(SECRETS, client=open_client()).get(pos.connection())


@pytest.fixture
def third_party(threepl: Simulator) -> ThirdPartyWarehouse:
    return NodeSystems(SECRETS, client=open_client()).threepl(
        threepl.connection(api_key_env="OUTSIDE_API_KEY")
    )


@pytest.fixture
def parcel_service(carrier: Simulator) -> Carrier:
    return Carriers(SECRETS, client=open_client()).get(carrier.connection())


@pytest.fixture
def reference() -> str:
    """A fulfillment id nobody used before."""
    return f"W-{next(_numbers)}-1"
