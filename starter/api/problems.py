"""Errors as RFC 9457 problem details: what is wrong, where, and never a traceback."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from config.wording import own_path, plain_words
from domain.errors import (
    ConflictError,
    DomsError,
    FinalError,
    RefusedError,
    RetryableError,
    ShortageError,
    UnknownReferenceError,
)

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS_SHOWN = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong: the field's dotted path ('' for the whole document) and why."""

    path: str
    message: str


@dataclass
class ProblemError(Exception):
    """An answer that is no success. `detail` says what to do; `errors` name the bad fields."""

    status: int
    detail: str
    errors: Sequence[FieldError] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The detail, so that a log line reads well."""
        return self.detail


class InvalidDocumentError(ProblemError):
    """A document that was understood but may not be accepted (422)."""

    def __init__(self, errors: Iterable[FieldError], detail: str = "") -> None:
        """Keep the errors; without a detail, count them."""
        found = list(errors)
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        super().__init__(422, detail or f"the document has {count}", found)


def not_found(what: str) -> ProblemError:
    """A 404 that says what there is none of."""
    return ProblemError(404, what)


_NOISE = frozenset({"too_short", "missing"})


def field_errors(error: ValidationError | RequestValidationError) -> list[FieldError]:
    """Pydantic's errors as paths and plain messages, without the echo of a bad item.

    A list whose only item is bad is also reported as too short; that is left out. Of a field that
    may be of several types, the one that fits best counts; where none does, all are named.
    """
    found = [
        (_without_types(item["loc"]), str(item["type"]), plain_words(item), _is_choice(item["loc"]))
        for item in error.errors()
    ]
    places = [loc for loc, _, _, _ in found]
    messages: dict[tuple[int | str, ...], list[str]] = {}
    for loc, kind, message, is_choice in found:
        has_deeper = any(len(p) > len(loc) and p[: len(loc)] == loc for p in places)
        if not (has_deeper and (kind in _NOISE or is_choice)):
            messages.setdefault(loc, []).append(message)
    return [_field_error(loc, " or ".join(told)) for loc, told in messages.items()]


def _without_types(loc: Iterable[int | str]) -> tuple[int | str, ...]:
    """The path without the types that pydantic tried there, such as `tuple[int, ...]`."""
    return tuple(part for part in loc if not _is_type(part))


def _is_choice(loc: Iterable[int | str]) -> bool:
    return any(_is_type(part) for part in loc)


def _is_type(part: int | str) -> bool:
    return isinstance(part, str) and part.endswith("]")


def _field_error(loc: tuple[int | str, ...], message: str) -> FieldError:
    named, told = own_path(message)
    return FieldError(".".join(str(part) for part in (*loc, *named)), told)


def problem_response(problem: ProblemError) -> JSONResponse:
    """The problem as `application/problem+json`."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        shown = problem.errors[:MOST_ERRORS_SHOWN]
        body["errors"] = [{"path": item.path, "message": item.message} for item in shown]
        if len(problem.errors) > len(shown):
            body["errors_left_out"] = len(problem.errors) - len(shown)
    body.update(problem.more)
    return JSONResponse(body, problem.status, dict(problem.headers), MEDIA_TYPE)


def problem_of(error: DomsError) -> ProblemError:
    """How doms's own errors are answered over HTTP."""
    match error:
        case UnknownReferenceError():
            return ProblemError(404, str(error))
        case ShortageError():
            short = [{"node_id": node, "sku": sku} for node, sku in error.short]
            return ProblemError(409, str(error), more={"short": short})
        case ConflictError() | RefusedError():
            return ProblemError(409, str(error))
        case RetryableError():
            return ProblemError(503, str(error), headers={"Retry-After": "1"})
        case FinalError():
            return ProblemError(409, str(error))
        case _:
            return ProblemError(500, str(error))


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    @app.exception_handler(ProblemError)
    async def _problem(_: Request, error: ProblemError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def _bad_request(_: Request, error: RequestValidationError) -> Response:
        errors = [
            FieldError(_without_place(item.path), item.message) for item in field_errors(error)
        ]
        return problem_response(InvalidDocumentError(errors))

    @app.exception_handler(ValidationError)
    async def _bad_document(_: Request, error: ValidationError) -> Response:
        return problem_response(InvalidDocumentError(field_errors(error)))

    @app.exception_handler(DomsError)
    async def _refused(_: Request, error: DomsError) -> Response:
        return problem_response(problem_of(error))

    @app.exception_handler(OperationalError)
    async def _busy(_: Request, error: OperationalError) -> Response:
        log.warning("the database did not answer: %s", error.orig)
        busy = ProblemError(
            503, "the database is busy or away: try again", headers={"Retry-After": "1"}
        )
        return problem_response(busy)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = f"nothing is at {request.url.path}"
        return problem_response(
            ProblemError(error.status_code, detail, headers=error.headers or {})
        )

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem_response(
            ProblemError(500, "doms failed to answer; what was asked may be tried again")
        )


def _without_place(path: str) -> str:
    """Drop FastAPI's 'query.' and 'body.' in front of a field's path."""
    place, _, rest = path.partition(".")
    return rest if place in {"query", "path", "body", "header"} and rest else path
