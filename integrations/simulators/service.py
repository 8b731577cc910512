"""The HTTP face of a simulator: its own endpoints, the knobs in front of them, and the ledger."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from integrations.reading import problems
from integrations.simulators.database import Step
from integrations.simulators.knobs import Knobs, draw, happens, knobs_for
from integrations.simulators.machine import Machine
from integrations.simulators.outbox import Outbox

_MOST_REMEMBERED_TRIES = 100_000
_LEDGER_PAGE = 1_000


@dataclass(frozen=True)
class Call:
    """One request, as an endpoint sees it."""

    body: dict[str, Any]
    path: dict[str, str]
    key: str
    base_url: str


@dataclass(frozen=True)
class Answer:
    """JSON to send back. `worked`: the call did something that a repeat of it would not do."""

    body: dict[str, Any]
    status: int = 200
    worked: bool = False


class Refusal(Exception):  # noqa: N818 (a refusal is an answer, not a failure)
    """No: with a code for programs and a message for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep the three parts of the answer."""
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Subject:
    """What a call is about, as far as knobs care."""

    reference: str = ""
    node_id: str = ""
    skus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """One operation of a simulated system."""

    method: str
    path: str
    summary: str
    handle: Callable[[Call], Answer]


class Simulator(Protocol):
    """One class of outside system."""

    title: str
    machine: Machine

    def endpoints(self) -> Sequence[Endpoint]:
        """Its API."""
        ...

    def subject(self, call: Call) -> Subject:
        """Whom a call is about."""
        ...

    def perform(self, step: Step) -> None:
        """Do a step that fell due, inside the machine's transaction."""
        ...


@dataclass
class _Gate:
    """What stands in front of every endpoint: key, outage, rate limit and errors."""

    machine: Machine
    api_key: str | None
    tokens: float = 0.0
    filled_at: float = 0.0
    tries: Counter[str] = field(default_factory=Counter)

    def refuse(self, knobs: Knobs, subject: str, authorization: str) -> Answer | None:
        """The answer to a call that does not get through, or None."""
        if self.api_key is not None and authorization != f"Bearer {self.api_key}":
            return _refused(401, "unauthorized", "send Authorization: Bearer with the API key")
        if knobs.outage:
            return _refused(503, "outage", "the system is down")
        if not self._within_limit(self.machine.knobs.rate_limit_per_second):
            return _refused(429, "rate_limited", "too many requests")
        if knobs.error_rate and self._fails(knobs, subject):
            return _refused(500, "internal_error", "something went wrong; nothing was done")
        return None

    def _within_limit(self, per_second: float | None) -> bool:
        if per_second is None:
            return True
        now, most = time.monotonic(), max(1.0, per_second)
        self.tokens = min(most, self.tokens + (now - self.filled_at) * per_second)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def _fails(self, knobs: Knobs, subject: str) -> bool:
        if len(self.tries) > _MOST_REMEMBERED_TRIES:
            self.tries.clear()
        self.tries[subject] += 1
        return draw(knobs.seed, f"error/{self.tries[subject]}", subject) < knobs.error_rate


def build(simulator: Simulator, outbox: Outbox, *, api_key: str | None = None) -> Starlette:
    """The web application; its steps and callbacks run while it does."""
    gate = _Gate(simulator.machine, api_key)

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        worker = asyncio.create_task(simulator.machine.run(simulator.perform))
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        await outbox.close()
        simulator.machine.database.close()

    routes = [
        Route(x.path, _conducted(simulator, gate, x), methods=[x.method])
        for x in simulator.endpoints()
    ]
    return Starlette(routes=[*routes, *_own_routes(simulator)], lifespan=running)


def _conducted(
    simulator: Simulator, gate: _Gate, endpoint: Endpoint
) -> Callable[[Request], Awaitable[Response]]:
    machine = simulator.machine

    async def answer(request: Request) -> Response:
        try:
            call = await _read(request)
        except ValueError as bad:
            return _json(_refused(400, "bad_request", str(bad)))
        knobs, subject = machine.knobs, Subject()
        if knobs.has_overrides or knobs.error_rate or knobs.lost_answer_rate:
            subject = simulator.subject(call)
            knobs = knobs_for(
                knobs, reference=subject.reference, node_id=subject.node_id, skus=subject.skus
            )
        if knobs.latency_ms:
            await asyncio.sleep(knobs.latency_ms / 1000)
        about = f"{endpoint.method} {endpoint.path} {subject.reference}"
        refused = gate.refuse(knobs, about, request.headers.get("authorization", ""))
        if refused is not None:
            return _json(refused, retry_after=knobs.retry_after)
        found = _handled(machine, endpoint, call)
        if found.worked and happens(knobs, "lost_answer_rate", about):
            found = _refused(knobs.lost_answer_status, "answer_lost", "no answer in time")
        return _json(found)

    return answer


def _handled(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    try:
        if endpoint.method == "GET":
            return endpoint.handle(call)
        with machine.work():
            return endpoint.handle(call)
    except Refusal as no:
        return _refused(no.status, no.code, no.message)
    except ValidationError as bad:
        return _refused(422, "invalid", problems(bad))


def _own_routes(simulator: Simulator) -> list[Route]:
    machine = simulator.machine

    async def describe(_: Request) -> Response:
        return _json(
            Answer(
                {
                    "title": simulator.title,
                    "about": "A stand-in for another company's system; nothing real happens here.",
                    "endpoints": [
                        {"method": x.method, "path": x.path, "summary": x.summary}
                        for x in simulator.endpoints()
                    ]
                    + _OWN_ENDPOINTS,
                }
            )
        )

    async def healthz(_: Request) -> Response:
        return _json(Answer({"status": "ok", "waiting": machine.database.waiting()}))

    async def knobs(request: Request) -> Response:
        try:
            if request.method == "PUT":
                machine.turn((await _read(request)).body)
            elif request.method == "DELETE":
                machine.turn(None)
        except ValidationError as bad:
            return _json(_refused(422, "invalid", problems(bad)))
        except ValueError as bad:
            return _json(_refused(422, "invalid", str(bad)))
        return _json(Answer(machine.knobs.model_dump(mode="json")))

    async def ledger(request: Request) -> Response:
        query = request.query_params
        try:
            entries = machine.database.ledger(
                kind=query.get("kind"),
                reference=query.get("reference"),
                after=int(query.get("after", 0)),
                limit=int(query.get("limit", _LEDGER_PAGE)),
            )
        except (ValueError, OverflowError):
            return _json(_refused(422, "invalid", "after and limit: must be whole numbers"))
        return _json(Answer({"counts": machine.database.ledger_counts(), "entries": entries}))

    return [
        Route("/", describe),
        Route("/healthz", healthz),
        Route("/knobs", knobs, methods=["GET", "PUT", "DELETE"]),
        Route("/ledger", ledger),
    ]


_OWN_ENDPOINTS = [
    {"method": "GET", "path": "/healthz", "summary": "whether it runs, and what is still to do"},
    {"method": "GET", "path": "/knobs", "summary": "how it behaves"},
    {"method": "PUT", "path": "/knobs", "summary": "change the knobs that are sent"},
    {"method": "DELETE", "path": "/knobs", "summary": "put all knobs back"},
    {
        "method": "GET",
        "path": "/ledger",
        "summary": "what was done: ?kind= ?reference= ?after= ?limit=",
    },
]


async def _read(request: Request) -> Call:
    raw = await request.body()
    body = from_json(raw) if raw else {}
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")  # noqa: TRY004 (the body's value is wrong)
    return Call(
        body=body,
        path=request.path_params,
        key=request.headers.get("idempotency-key", ""),
        base_url=f"{request.url.scheme}://{request.headers.get('host', 'localhost')}",
    )


def _refused(status: int, code: str, message: str) -> Answer:
    return Answer({"code": code, "message": message}, status=status)


def _json(answer: Answer, *, retry_after: float | None = None) -> Response:
    headers = {}
    if answer.status in {429, 503} and retry_after is not None:
        headers["Retry-After"] = f"{retry_after:g}"
    return Response(
        to_json({**answer.body, "simulator": True}),
        status_code=answer.status,
        media_type="application/json",
        headers=headers,
    )
