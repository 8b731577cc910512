"""`doms doctor`: what doms needs here, what of it runs, and what to do about the rest."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from config.samples import load_exchange_rates, load_sample
from config.settings import Settings
from domain.errors import DomsError
from starter.commands.client import Api, ApiError, api_url, headers_of
from starter.commands.local_store import database
from starter.commands.ports import answers, remembered_ports, temporal_port
from starter.commands.stack import temporal_binary
from starter.supervisor import SupervisorError, is_owned
from store.engine import reading

_LEAST_FREE_BYTES = 1_000_000_000
_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `advice` says what to do when it is not well."""

    name: str
    is_well: bool
    text: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {"name": self.name, "ok": self.is_well, "found": self.text, "advice": self.advice}


def examine(settings: Settings, url: str | None = None) -> list[Finding]:
    """Look at everything, changing nothing but an outdated schema."""
    return [
        _python(),
        _temporal_binary(),
        _sample(),
        _disk(settings.home),
        _processes(settings),
        _database(settings),
        _temporal(settings),
        _api(settings, url),
    ]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    well = sys.version_info[:2] >= _PYTHON
    return Finding("python", well, found, "" if well else "install Python 3.11 or newer")


def _temporal_binary() -> Finding:
    try:
        return Finding("temporal binary", True, str(temporal_binary()))
    except SupervisorError as error:
        return Finding("temporal binary", False, "not found", str(error))


def _sample() -> Finding:
    try:
        sample = load_sample()
        load_exchange_rates()
    except DomsError as error:
        return Finding("sample files", False, "broken", str(error))
    return Finding(
        "sample files", True, f"{len(sample.network.nodes)} nodes, {len(sample.products)} products"
    )


def _disk(home: Path) -> Finding:
    place = home.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    well = free > _LEAST_FREE_BYTES
    advice = "" if well else f"make room on the disk of {place}"
    return Finding("disk", well, f"{free / 1e9:.1f} GB free", advice)


def _processes(settings: Settings) -> Finding:
    if is_owned(settings.home):
        return Finding("doms up", True, f"runs in {settings.home.absolute()}")
    return Finding("doms up", True, f"does not run in {settings.home.absolute()}")


def _database(settings: Settings) -> Finding:
    try:
        with database(settings) as engine, reading(engine) as session:
            nodes = session.execute(text("SELECT count(*) FROM nodes")).scalar_one()
            orders = session.execute(text("SELECT count(*) FROM orders")).scalar_one()
    except DomsError as error:
        return Finding("database", False, "none", str(error))
    except (SQLAlchemyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        return Finding(
            "database", False, reason, "check DOMS_DATABASE_URL and the server behind it"
        )
    advice = "" if nodes else "no network is loaded: `doms up` loads the sample"
    return Finding("database", bool(nodes), f"{nodes} nodes, {orders} orders", advice)


def _temporal(settings: Settings) -> Finding:
    ports = remembered_ports(settings.home)
    is_set = "temporal_address" in settings.model_fields_set
    port = temporal_port(settings) if is_set or ports is None else ports.temporal
    host = settings.temporal_address.rpartition(":")[0]
    if host not in {"127.0.0.1", "localhost"}:
        return Finding("temporal server", True, f"{settings.temporal_address} (not asked)")
    if answers(port):
        return Finding("temporal server", True, f"answers on port {port}")
    return Finding("temporal server", False, f"nothing on port {port}", "start it with `doms up`")


def _api(settings: Settings, url: str | None) -> Finding:
    try:
        address = api_url(settings, url)
    except ApiError as error:
        return Finding("api", False, "unknown where", str(error))
    try:
        with Api(address, headers_of(settings)) as api:
            api.get("/readyz")
    except ApiError as error:
        return Finding("api", False, f"not ready at {address}", str(error))
    except httpx.InvalidURL:
        return Finding("api", False, f"'{address}' is no URL", "write --url as http://host:port")
    return Finding("api", True, f"ready at {address}")
