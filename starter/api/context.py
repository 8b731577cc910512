"""What endpoints work with, and how they read a body and learn who calls."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine

from config.settings import Settings
from domain.learned_dates import LearnedDates
from domain.orders import MAX_DOCUMENT_BYTES
from integrations.vendor import News
from starter.answers import Answers
from starter.api.problems import FieldError, InvalidDocumentError, ProblemError, field_errors
from starter.auth import Caller, Gatekeeper
from starter.intake import Capture, Intake, Reference, parse_json
from starter.promise_records import PromiseRecords
from store.following import Following

Body = TypeVar("Body", bound=BaseModel)

MAX_FEED_BYTES = 20_000_000
"""Stock feeds may be longer than orders: a snapshot names every SKU of a node."""


@dataclass(frozen=True)
class Services:
    """What the endpoints of one process share."""

    settings: Settings
    engine: Engine
    gatekeeper: Gatekeeper
    reference: Reference
    intake: Intake
    capture: Capture
    clock: Callable[[], datetime]
    wake: Callable[[], None]
    """Tells the dispatcher that something was committed."""
    following: Following
    """The availability view and the policies in force, in memory."""
    records: PromiseRecords
    answers: Answers
    """Asks running orders what becomes of a request."""
    temporal_ready: Callable[[], bool] = field(default=lambda: False)
    learned: Callable[[], LearnedDates | None] = field(default=lambda: None)
    """Delivery dates as learned last."""
    heard_of: Callable[[str, News], None] = field(default=lambda _, __: None)
    """Has a connection's system asked for its news."""


def services_of(request: Request) -> Services:
    """The process's services."""
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> Caller:
    """Who calls. Raises ProblemError 401. Reads the database: call it from a thread."""
    return services_of(request).gatekeeper.caller(request)


async def _services(request: Request) -> Services:
    return services_of(request)


TheServices = Annotated[Services, Depends(_services)]
PathId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
"""An id in an address; anything else is refused with its name."""
TheCaller = Annotated[Caller, Depends(caller_of)]


async def read_body(request: Request, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    """The raw body. Raises ProblemError 413 as soon as it is known to be over the limit."""
    too_large = ProblemError(413, f"a body has at most {limit:,} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


async def _raw_body(request: Request) -> bytes:
    return await read_body(request)


async def _raw_feed(request: Request) -> bytes:
    return await read_body(request, MAX_FEED_BYTES)


RawBody = Annotated[bytes, Depends(_raw_body)]
RawFeed = Annotated[bytes, Depends(_raw_feed)]


def body_as(model: type[Body], raw: bytes) -> Body:
    """The body as that model. Raises InvalidDocumentError with each bad field's path."""
    document: Any = parse_json(raw) if raw.strip() else {}
    if not isinstance(document, dict):
        raise InvalidDocumentError([FieldError("", "send a JSON object")])
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidDocumentError(field_errors(error)) from None


BODIES: set[type[BaseModel]] = set()
"""Models of the bodies that endpoints read raw; the app adds them to OpenAPI's schemas."""


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of a body that the endpoint reads raw."""
    BODIES.add(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class Wakeup:
    """An event any thread may set and one loop waits for."""

    def __init__(self) -> None:
        """Not set."""
        self._event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> None:
        """Belong to the running loop; call it in the loop that waits."""
        self._loop = asyncio.get_running_loop()

    def set(self) -> None:
        """Wake the waiting loop; from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._event.set)

    def set_here(self) -> None:
        """Wake the waiting loop; from that loop's own code."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Until set or until that many seconds have passed; then not set."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
