"""The command line's way to the HTTP API: one line for every way it can fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from config.settings import Settings
from starter.commands.ports import remembered_ports

TIMEOUT_SECONDS = 30.0
ACTOR_HEADER = "X-Doms-Actor"


@dataclass
class ApiError(Exception):
    """The API said no or could not be asked; `message` says what to do. `status` 0: no answer."""

    message: str
    status: int = 0

    def __str__(self) -> str:
        """The message, one line or one line for each bad field."""
        return self.message


def api_url(settings: Settings, asked: str | None = None) -> str:
    """Where the API is: as asked, as set, else where `doms up` put it in this home.

    Raises ApiError for a home that was named and in which nothing was ever started: what answers at
    the usual address then belongs to another one.
    """
    if asked:
        return asked.rstrip("/")
    if settings.api_url or "api_port" in settings.model_fields_set:
        return settings.base_url
    ports = remembered_ports(settings.home)
    if ports is not None:
        return f"http://127.0.0.1:{ports.api}"
    if "home" in settings.model_fields_set:
        raise ApiError(
            f"nothing was started in {settings.home.absolute()}, which DOMS_HOME or --home names:"
            " start it with `doms up`, or say where the API is with --url or DOMS_API_URL"
        )
    return settings.base_url


def headers_of(settings: Settings, actor: str | None = None) -> dict[str, str]:
    """The headers every call carries: the API key, and under which name a local person acts."""
    headers = {"Accept": "application/json"}
    if settings.api_key:
        headers["X-API-Key"] = settings.api_key
    if actor:
        headers[ACTOR_HEADER] = actor
    return headers


class Api:
    """Calls the API at one address; use it as a context manager or close it."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Connect lazily."""
        self.url = url
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> "Api":
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at that path. Raises ApiError."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, path: str, body: Any) -> Any:
        """The JSON answered to that body. Raises ApiError."""
        return self._call("POST", path, json=body)

    def put(self, path: str, body: Any) -> Any:
        """The JSON answered to that body. Raises ApiError."""
        return self._call("PUT", path, json=body)

    def delete(self, path: str, **query: Any) -> None:
        """Delete what is at that path. Raises ApiError."""
        given = {name: value for name, value in query.items() if value is not None}
        self._call("DELETE", path, params=given)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ApiError(unreachable(self.url, error)) from error
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        if response.is_success:
            return json_of(response, self.url)
        raise ApiError(problem_of(response), response.status_code)


def path_of(*parts: str) -> str:
    """A path below /v1 with each part escaped."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def unreachable(url: str, error: httpx.HTTPError) -> str:
    """One line for an API that did not answer."""
    if isinstance(error, httpx.TimeoutException):
        return f"the API at {url} did not answer in {TIMEOUT_SECONDS:.0f} s: try again"
    return f"no doms API answers at {url}: start it with `doms up`, or say where it is with --url"


def json_of(response: httpx.Response, url: str) -> Any:
    """The answer's JSON. Raises ApiError when something else than doms answered."""
    try:
        return response.json()
    except ValueError as error:
        raise ApiError(f"what answers at {url} is no doms API") from error


def problem_of(response: httpx.Response) -> str:
    """What a problem document says: its detail, or each bad field on a line of its own."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return f"the API answered {response.status_code} {response.reason_phrase}"
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(_field(error) for error in errors)
    detail = problem.get("detail") or problem.get("title") or f"status {response.status_code}"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return f"{detail}; put the key in DOMS_API_KEY"
    return str(detail)


def _field(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    path = error.get("path") or ""
    return f"{path}: {error.get('message', '')}" if path else str(error.get("message", ""))
