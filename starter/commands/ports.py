"""Which ports a home's processes listen on: the last ones, else the settings', else free ones."""

import json
import socket
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


def choose_ports(settings: Settings) -> Ports:
    """Ports to use now, remembered in the home for the next start.

    A default that is taken is replaced; a port that was set and is taken raises SupervisorError.
    """
    wanted = _wanted(settings)
    last = remembered_ports(settings.home)
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        setting = _SETTING.get(name, f"{name}_port")
        is_set = setting in settings.model_fields_set
        if is_set and not is_free(port):
            raise SupervisorError(
                f"port {port} for {name} is taken: set DOMS_{setting.upper()} to another one"
            )
        candidates = [port] if is_set else [*([getattr(last, name)] if last else []), port]
        taken = set(chosen.values())
        free = [one for one in candidates if one not in taken and is_free(one)]
        chosen[name] = free[0] if free else _free_port(taken)
    ports = Ports.model_validate(chosen)
    settings.home.mkdir(parents=True, exist_ok=True)
    _file(settings.home).write_text(ports.model_dump_json())
    return ports


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
