"""Who calls: an API key's name and roles, or, on a loopback API without keys, the local person."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import Engine

from config.settings import Settings, is_loopback
from starter.api.problems import ProblemError
from store import api_keys
from store.engine import reading

INTAKE = "intake"
SUPPORT = "support"
OPERATIONS = "operations"
ANALYST = "analyst"
NODE = "node"
ADMIN = "admin"

ACTOR_HEADER = "x-doms-actor"
_REMEMBERED_SECONDS = 5.0


@dataclass(frozen=True)
class Caller:
    """Who calls. `local` is a person on this machine, who may also say under which name they act.

    Besides the fixed roles, any other role is an approver's (`manager`); `node` works at every
    node, `node:{node_id}` at that one; `admin` may do everything.
    """

    name: str
    roles: frozenset[str]
    local: bool = False
    named: bool = True

    def may(self, *roles: str) -> bool:
        """Whether the caller has one of the roles."""
        return self.local or ADMIN in self.roles or not self.roles.isdisjoint(roles)

    def may_work_at(self, node_id: str) -> bool:
        """Whether the caller may do that node's work."""
        return self.may(NODE, f"{NODE}:{node_id}", OPERATIONS)

    @property
    def may_read_orders(self) -> bool:
        """Whether the caller is more than a node's own staff."""
        return self.local or any(role.partition(":")[0] != NODE for role in self.roles)


class HttpRequest(Protocol):
    """The part of a request that says who calls."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in lower case."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the other side."""


class Gatekeeper:
    """Answers who calls. A key is remembered for some seconds, so revoking it takes that long."""

    def __init__(
        self, settings: Settings, engine: Engine, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """Check keys in that database; keyless calls only as the settings allow."""
        self._engine = engine
        self._needs_key = settings.needs_api_key
        self._seconds = seconds
        self._remembered: dict[str, tuple[float, Caller]] = {}

    def caller(self, request: HttpRequest) -> Caller:
        """The caller. Raises ProblemError 401 without a valid key where one is needed."""
        key = _presented_key(request.headers)
        if key is not None:
            return self._caller_with_key(key)
        if self._needs_key or not _comes_from_this_machine(request):
            raise ProblemError(
                401,
                "send an API key in the X-API-Key header (`doms key create` makes one)",
                headers={"WWW-Authenticate": "Bearer"},
            )
        actor = request.headers.get(ACTOR_HEADER, "").strip()[:128]
        return Caller(actor or "local", frozenset(), local=True, named=bool(actor))

    def _caller_with_key(self, key: str) -> Caller:
        digest = hashlib.sha256(key.encode()).hexdigest()
        now = self._seconds()
        until, caller = self._remembered.get(digest, (0.0, None))
        if caller is not None and now < until:
            return caller
        with reading(self._engine) as session:
            known = api_keys.check(session, key)
        if known is None:
            self._remembered.pop(digest, None)
            raise ProblemError(
                401, "that API key is not known", headers={"WWW-Authenticate": "Bearer"}
            )
        caller = Caller(known.name, frozenset(known.roles))
        if len(self._remembered) > 1_000:
            self._remembered.clear()
        self._remembered[digest] = (now + _REMEMBERED_SECONDS, caller)
        return caller


def require(caller: Caller, *roles: str) -> Caller:
    """The caller again. Raises ProblemError 403 unless they have one of the roles."""
    if not caller.may(*roles):
        wanted = " or ".join(f"'{role}'" for role in roles)
        raise ProblemError(403, f"'{caller.name}' needs the role {wanted} for this")
    return caller


def _presented_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("x-api-key")
    if key:
        return key.strip()
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _comes_from_this_machine(request: HttpRequest) -> bool:
    """No proxy in between, and no web page of another origin that merely reaches this machine."""
    headers = request.headers
    if "x-forwarded-for" in headers or "forwarded" in headers:
        return False
    if request.client is not None and not _is_local_address(request.client[0]):
        return False
    origin = headers.get("origin")
    if origin is not None and not _names_this_machine(origin):
        return False
    return _names_this_machine(f"//{headers.get('host', 'localhost')}")


def _is_local_address(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return is_loopback(host)


def _names_this_machine(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
