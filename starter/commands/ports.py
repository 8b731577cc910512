"""Which ports a home's processes listen on: the last ones, else the settings', else free ones."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from config.settings import Settings
from domain.values import Model
from starter.supervisor import SupervisorError


class Ports(Model):
    """One port for each server of `doms up`."""

    temporal: int
    temporal_ui: int
    api: int
    wms: int
    pos: int
    threepl: int
    carrier: int


_SETTING = {"temporal": "temporal_address", "temporal_ui": "temporal_ui_port"}
_WORDS = {
    "temporal": "Temporal",
    "temporal_ui": "the Temporal UI",
    "api": "the API",
    "wms": "the WMS simulator",
    "pos": "the POS simulator",
    "threepl": "the 3PL simulator",
    "carrier": "the carrier simulator",
}


def choose_ports(settings: Settings, say: Callable[[str], None] = lambda line: None) -> Ports:
    """Ports to use now, remembered in the home for the next start.

    A default that is taken is replaced, which is said; a port that was set and is taken, or set for
    two servers, raises SupervisorError.
    """
    wanted = _wanted(settings)
    last = remembered_ports(settings.home)
    is_set = {name: _setting(name) in settings.model_fields_set for name in wanted}
    chosen: dict[str, int] = {}
    # Those that were asked for first: a default gives way to them.
    for name in sorted(wanted, key=lambda name: not is_set[name]):
        port, taken = wanted[name], set(chosen.values())
        if is_set[name]:
            _refuse_taken(name, port, chosen)
        before = [getattr(last, name)] if last and not is_set[name] else []
        free = [one for one in [*before, port] if one not in taken and is_free(one)]
        chosen[name] = free[0] if free else _free_port(taken)
        if not free:
            say(
                f"port {port} is taken: {_WORDS[name]} is at {chosen[name]} instead"
                f" ({_advice(name)} chooses another)"
            )
    ports = Ports.model_validate(chosen)
    settings.home.mkdir(parents=True, exist_ok=True)
    _file(settings.home).write_text(ports.model_dump_json())
    return ports


def _refuse_taken(name: str, port: int, chosen: dict[str, int]) -> None:
    also = next((other for other, used in chosen.items() if used == port), None)
    if also is not None:
        raise SupervisorError(
            f"port {port} is set for {_WORDS[also]} and for {_WORDS[name]}: set {_advice(name)}"
            " to another one"
        )
    if not is_free(port):
        raise SupervisorError(
            f"port {port} for {_WORDS[name]} is taken by another program: stop that one, or set"
            f" {_advice(name)} to another one"
        )


def _setting(name: str) -> str:
    return _SETTING.get(name, f"{name}_port")


def _advice(name: str) -> str:
    suffix = " (host:port)" if name == "temporal" else ""
    return f"DOMS_{_setting(name).upper()}{suffix}"


def remembered_ports(home: Path) -> Ports | None:
    """The ports of the last start in that home, if there was one."""
    try:
        return Ports.model_validate(json.loads(_file(home).read_text()))
    except (FileNotFoundError, ValueError, ValidationError):
        return None


def _wanted(settings: Settings) -> dict[str, int]:
    return {
        "temporal": temporal_port(settings),
        "temporal_ui": settings.temporal_ui_port,
        "api": settings.api_port,
        "wms": settings.wms_port,
        "pos": settings.pos_port,
        "threepl": settings.threepl_port,
        "carrier": settings.carrier_port,
    }


def temporal_port(settings: Settings) -> int:
    """The port in `temporal_address`. Raises SupervisorError when there is none."""
    port = settings.temporal_address.rpartition(":")[2]
    if not port.isdigit():
        raise SupervisorError(
            f"DOMS_TEMPORAL_ADDRESS is '{settings.temporal_address}': write it as host:port"
        )
    return int(port)


def is_free(port: int) -> bool:
    """Whether a server could listen there on loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether something on loopback accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def _file(home: Path) -> Path:
    return home / "ports.json"
