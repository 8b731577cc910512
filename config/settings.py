"""Everything an operator may set, read from the environment (prefix `DOMS_`) or a `.env` file."""

from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65_535)]
Networks = tuple[IPv4Network | IPv6Network, ...]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def _networks(value: object) -> object:
    """Networks as one text with commas, as the environment has them."""
    if not isinstance(value, str):
        return value
    return tuple(_network(part.strip()) for part in value.split(",") if part.strip())


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"'{text}' is no network, such as 10.1.0.0/16") from None


class Settings(BaseSettings):
    """Settings of every doms process. Raises pydantic.ValidationError naming the bad variable."""

    model_config = SettingsConfigDict(env_prefix="DOMS_", env_file=".env", extra="ignore")

    home: Path = Path(".doms")
    """Folder for everything kept on this machine: database, Temporal's file, logs."""
    database_url: str = ""
    """SQLAlchemy URL; empty: a SQLite file in `home`."""

    api_host: str = "127.0.0.1"
    api_port: Port = 8080
    api_url: str = ""
    """Where clients reach the API; empty: made from host and port."""
    api_key: str | None = None
    """The key the command line sends."""
    api_delivers: bool = True
    """Whether this API process also delivers messages to Temporal and sweeps. An API that only
    answers promises does better without: then another one must deliver."""
    require_api_key: bool | None = None
    """None: callers need a key unless the API listens on loopback only."""

    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_ui_port: Port = 8233
    temporal_ui_url: str = ""
    """Where people open the Temporal UI; empty: this machine, at `temporal_ui_port`."""
    retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """How long the namespace keeps closed workflows."""

    orders_task_queue: str = "doms-orders"
    deployment_name: str = "doms"
    build_id: str = "dev"

    wms_port: Port = 8091
    """Where the four stand-ins for outside companies listen on this machine."""
    pos_port: Port = 8092
    threepl_port: Port = 8093
    carrier_port: Port = 8094
    webhook_secret: str | None = None
    """Standard Webhooks secret (`whsec_...`) for connections that name no other `secret_env`."""
    events_private_networks: Annotated[Networks, NoDecode, BeforeValidator(_networks)] = ()
    """Own networks that order events may be sent to, such as `127.0.0.0/8,10.1.0.0/16`; to all
    others in private address space nothing is sent, whoever subscribes."""
    hash_secret: str | None = None
    """Keys the hash by which Temporal knows a customer; without it no customer is shown there."""

    timings_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Multiplies every wait of a process policy: below 1 for demos and tests."""

    brokering_minutes: Annotated[float, Field(ge=1, le=1_440)] = 10
    """How often unreleased orders are planned again, together."""
    brokering_min_gain: Annotated[Decimal, Field(ge=0, le=1_000_000)] = Decimal("0.10")
    """What moving an order must save, in the base currency."""
    brokering_margin_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    """Orders that are released sooner than this are left alone."""
    brokering_orders: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Most orders of a run: those released soonest."""

    worker_metrics_address: str = ""
    """Where the worker serves Prometheus metrics, such as 127.0.0.1:9100; empty: nowhere."""

    log_level: LogLevel = "INFO"
    log_format: Literal["text", "json"] = "text"

    @property
    def database(self) -> str:
        """The database's URL, with the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'doms.db'}"

    @property
    def base_url(self) -> str:
        """Where clients reach the API, without a slash at the end."""
        return (self.api_url or f"http://{self._reachable_host}:{self.api_port}").rstrip("/")

    @property
    def temporal_ui(self) -> str:
        """Where people open the Temporal UI, without a slash at the end."""
        return (self.temporal_ui_url or f"http://127.0.0.1:{self.temporal_ui_port}").rstrip("/")

    @property
    def needs_api_key(self) -> bool:
        """Whether a caller must show a key: as set, else unless only this machine can call."""
        if self.require_api_key is not None:
            return self.require_api_key
        return not is_loopback(self.api_host)

    @property
    def _reachable_host(self) -> str:
        return "127.0.0.1" if self.api_host in {"0.0.0.0", "::"} else self.api_host  # noqa: S104 (compared, not bound)


def is_loopback(host: str) -> bool:
    """Whether a server bound to that host is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings() -> Settings:
    """Settings as the environment has them now."""
    return Settings()
