"""Sends order documents to the API: some at a time, resumable, refusals holding up nothing."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from domain.errors import FinalError
from starter.bulk.journal import Journal
from starter.bulk.loaded import Document, LoadedOrder

CONCURRENCY = 8
PATIENCE_SECONDS = 120.0
"""How long an API that does not answer is asked again before the run stops."""
FIRST_CONTACT_SECONDS = 3.0
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0
_PAGE = 500
_OWN_LINE = re.compile(r"line (\d+): (.+)", re.DOTALL)


class SubmissionStoppedError(FinalError):
    """The API cannot take orders at all; what was accepted so far is remembered."""


@dataclass(frozen=True)
class Refusal:
    """An order that was not accepted: its line, its id if it had one, and each field's error."""

    line_number: int
    order_id: str | None
    errors: tuple[tuple[str, str], ...]
    """(path, message); the path is empty for the order as a whole."""

    def lines(self) -> Iterator[str]:
        """One readable line for each error."""
        for path, message in self.errors:
            # A file's own error says on which of the order's lines it is.
            own = _OWN_LINE.match(message)
            number, text = own.groups() if own else (self.line_number, message)
            where = f"line {number}" + (f" ({self.order_id})" if self.order_id else "")
            yield f"{where}: {path}: {text}" if path else f"{where}: {text}"

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "line": self.line_number,
            "order_id": self.order_id,
            "errors": [{"path": path, "message": message} for path, message in self.errors],
        }


@dataclass
class Submission:
    """What became of an input. `accepted` are new, `known` the API had already (or its journal)."""

    accepted: int = 0
    known: int = 0
    skipped: int = 0
    """Of the known, those that the journal answered without asking."""
    refused: list[Refusal] = field(default_factory=list)
    order_ids: list[str] = field(default_factory=list)
    """Every order of the input that the API has."""

    @property
    def read(self) -> int:
        """How many orders the input held."""
        return self.accepted + self.known + len(self.refused)


@dataclass(frozen=True)
class Target:
    """Which API, with which headers; `transport` is httpx's own, given in tests."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    transport: httpx.AsyncBaseTransport | None = None

    def client(self) -> httpx.AsyncClient:
        """A client for one run."""
        return httpx.AsyncClient(
            base_url=self.url, headers=self.headers, timeout=30.0, transport=self.transport
        )


class _Pace:
    """Lets at most `rate` go on each second; all of them without a rate."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        if not self._gap:
            return
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self._gap
        await asyncio.sleep(turn - now)


async def submit(
    orders: Iterable[LoadedOrder],
    target: Target,
    journal: Journal,
    *,
    rate: float | None = None,
    concurrency: int = CONCURRENCY,
    patience: float = PATIENCE_SECONDS,
    progress: Callable[[Submission], None] = lambda submission: None,
) -> Submission:
    """Send every order, at most `rate` a second; `progress` is called after each.

    Raises SubmissionStoppedError when the API refuses the caller or stays silent for `patience`
    seconds; a later run goes on where this one stopped.
    """
    async with target.client() as client:
        # An API that is not there at all is said at once; one that goes away is waited for.
        await ask(client, "GET", "/healthz", min(patience, FIRST_CONTACT_SECONDS))
        await _check_journal(client, journal, patience)
        run = _Run(client, journal, _Pace(rate), patience, progress)
        await run.work(iter(orders), concurrency)
    run.submission.refused.sort(key=lambda refusal: refusal.line_number)
    return run.submission


class _Run:
    def __init__(
        self,
        client: httpx.AsyncClient,
        journal: Journal,
        pace: _Pace,
        patience: float,
        progress: Callable[[Submission], None],
    ) -> None:
        self._client = client
        self._journal = journal
        self._pace = pace
        self._patience = patience
        self._progress = progress
        self._before = frozenset(journal.accepted)
        self.submission = Submission()

    async def work(self, orders: Iterator[LoadedOrder], concurrency: int) -> None:
        """Let several senders share the input, so that it is read as fast as it is sent."""
        senders = [asyncio.create_task(self._sender(orders)) for _ in range(concurrency)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _sender(self, orders: Iterator[LoadedOrder]) -> None:
        for order in orders:
            await self._one(order)
            self._progress(self.submission)

    async def _one(self, order: LoadedOrder) -> None:
        done = self.submission
        if order.document is None:
            error = (("", order.error or "no order"),)
            done.refused.append(Refusal(order.line_number, None, error))
            return
        order_id = order.order_id
        mark = f"{order_id} {_digest(order.document)}"
        if order_id is not None and mark in self._before:
            done.known += 1
            done.skipped += 1
            done.order_ids.append(order_id)
            return
        await self._pace.wait()
        response = await ask(self._client, "POST", "/v1/orders", self._patience, order.document)
        if response.is_success and order_id is not None:
            done.order_ids.append(order_id)
            self._journal.add(mark)
            if response.status_code == httpx.codes.OK:
                done.known += 1
            else:
                done.accepted += 1
            return
        done.refused.append(Refusal(order.line_number, order_id, _errors(response)))


async def _check_journal(client: httpx.AsyncClient, journal: Journal, patience: float) -> None:
    """Forget a journal whose orders the API does not know: its database is a new one."""
    if not journal.accepted:
        return
    some = min(journal.accepted).partition(" ")[0]
    response = await ask(client, "GET", f"/v1/orders/{quote(some, safe='')}", patience)
    if response.status_code == httpx.codes.NOT_FOUND:
        journal.forget()


async def ask(
    client: httpx.AsyncClient, method: str, path: str, patience: float, body: Any = None
) -> httpx.Response:
    """Call until there is an answer that counts: no connection, 429 and 5xx are tried again.

    Raises SubmissionStoppedError after `patience` seconds of those, or when the caller is refused.
    """
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE_SECONDS
    while True:
        trouble = ""
        try:
            response = await client.request(method, path, json=body)
        except httpx.TransportError as error:
            trouble = str(error) or type(error).__name__
        except ValueError as error:
            # A document that is no JSON after all (a lone surrogate, NaN): refused like any other.
            return httpx.Response(422, json={"detail": f"no JSON document: {error}"})
        else:
            if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                raise SubmissionStoppedError(_errors(response)[0][1])
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS and not (
                response.is_server_error
            ):
                return response
            trouble = f"status {response.status_code}"
        if time.monotonic() + pause > deadline:
            raise SubmissionStoppedError(
                f"the API at {client.base_url} does not answer ({trouble}): see `doms doctor`; "
                "run the same command again to go on from here"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _digest(document: Document) -> str:
    """Tells versions of an order apart in the journal."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _errors(response: httpx.Response) -> tuple[tuple[str, str], ...]:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return (("", f"the API answered {response.status_code}"),)
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        return tuple((str(one.get("path", "")), str(one.get("message", ""))) for one in errors)
    return (("", str(problem.get("detail") or problem.get("title") or response.status_code)),)


@dataclass
class Standing:
    """Where the submitted orders stand: how many by stage, and how many wait for a person."""

    by_stage: dict[str, int]
    closed: int
    need_attention: int


async def stand(
    client: httpx.AsyncClient, order_ids: set[str], patience: float = PATIENCE_SECONDS
) -> Standing:
    """Look the orders up in the API's list, newest first, until all are seen."""
    missing = set(order_ids)
    standing = Standing({}, 0, 0)
    after: str | None = None
    while missing:
        query = f"/v1/orders?limit={_PAGE}" + (f"&after={after}" if after else "")
        page = (await ask(client, "GET", query, patience)).json()
        for row in page.get("orders", []):
            if row["order_id"] not in missing:
                continue
            missing.remove(row["order_id"])
            stage = row["stage"]
            standing.by_stage[stage] = standing.by_stage.get(stage, 0) + 1
            standing.closed += bool(row.get("closed", stage in _CLOSED))
            standing.need_attention += bool(row.get("needs_attention"))
        after = page.get("next")
        if after is None:
            break
    return standing


_CLOSED = frozenset({"completed", "cancelled", "rejected"})


async def wait_until_closed(
    order_ids: Iterable[str],
    target: Target,
    progress: Callable[[Standing], None] = lambda standing: None,
    *,
    every: float = 1.0,
) -> Standing:
    """Look until every order is closed; cancelling loses nothing."""
    wanted = set(order_ids)
    async with target.client() as client:
        while True:
            started = time.monotonic()
            standing = await stand(client, wanted)
            progress(standing)
            if standing.closed >= len(wanted):
                return standing
            # A long list is looked at less often, so that watching costs little.
            await asyncio.sleep(max(every, 5 * (time.monotonic() - started)))
