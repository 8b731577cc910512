import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from starter.commands.ports import choose_ports, is_free, remembered_ports
from starter.supervisor import SupervisorError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_default_that_is_taken_is_replaced_by_a_free_port(tmp_path: Path, taken: int) -> None:
    settings = Settings(home=tmp_path).model_copy(update={"api_port": taken})
    settings.model_fields_set.discard("api_port")

    ports = choose_ports(settings)

    assert ports.api != taken
    assert is_free(ports.api)
    assert len(set(ports.model_dump().values())) == 7


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path, taken: int) -> None:
    settings = Settings(home=tmp_path, api_port=taken)

    with pytest.raises(SupervisorError) as refused:
        choose_ports(settings)

    assert str(refused.value) == (
        f"port {taken} for the API is taken by another program: stop that one, or set DOMS_API_PORT"
        " to another one"
    )


@pytest.mark.parametrize(
    "name", ["temporal", "temporal_ui", "api", "wms", "pos", "threepl", "carrier"]
)
def test_a_taken_port_is_named_with_what_to_do_whichever_it_is(
    tmp_path: Path, taken: int, name: str
) -> None:
    address = {"temporal_address": f"127.0.0.1:{taken}"}
    asked = Settings.model_validate(
        {"home": tmp_path, **(address if name == "temporal" else {f"{name}_port": taken})}
    )

    with pytest.raises(SupervisorError, match=f"port {taken} for .* set DOMS_{name.upper()}_"):
        choose_ports(asked)


def test_a_default_that_is_replaced_is_said(tmp_path: Path, taken: int) -> None:
    said: list[str] = []
    settings = Settings(home=tmp_path).model_copy(update={"api_port": taken})
    settings.model_fields_set.discard("api_port")

    ports = choose_ports(settings, said.append)

    assert (
        f"port {taken} is taken: the API is at {ports.api} instead (DOMS_API_PORT chooses another)"
    ) in said


def test_one_port_set_for_two_servers_is_refused(tmp_path: Path) -> None:
    port = free_port()

    with pytest.raises(SupervisorError, match="is set for the API and for the WMS simulator"):
        choose_ports(Settings(home=tmp_path, api_port=port, wms_port=port))


def test_a_default_gives_way_to_a_port_that_was_asked_for(tmp_path: Path) -> None:
    default = free_port()
    settings = Settings(home=tmp_path, carrier_port=default)
    settings = settings.model_copy(update={"api_port": default})
    settings.model_fields_set.discard("api_port")

    ports = choose_ports(settings)

    assert ports.carrier == default
    assert ports.api != default


def test_a_port_that_was_asked_for_is_used(tmp_path: Path) -> None:
    port = free_port()

    assert choose_ports(Settings(home=tmp_path, wms_port=port)).wms == port


def test_the_same_ports_are_used_the_next_time(tmp_path: Path) -> None:
    first = choose_ports(Settings(home=tmp_path))

    assert remembered_ports(tmp_path) == first
    assert choose_ports(Settings(home=tmp_path)) == first


def test_a_broken_memory_of_ports_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"api": "x"}')

    assert remembered_ports(tmp_path) is None
    assert remembered_ports(tmp_path / "nowhere") is None


def test_a_temporal_address_without_a_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="write it as host:port"):
        choose_ports(Settings(home=tmp_path, temporal_address="somewhere"))
