"""A vendor's OpenAPI file that checks every request sent to a stand-in."""

from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict


class _Request:
    """An httpx request as openapi-core reads one."""

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(list(request.url.params.multi_items())),
            header=Headers(dict(request.headers)),
            cookie=ImmutableMultiDict([]),
        )

    @property
    def host_url(self) -> str:
        return f"{self._request.url.scheme}://{self._request.url.host}"

    @property
    def path(self) -> str:
        return self._request.url.path

    @property
    def method(self) -> str:
        return self._request.method.lower()

    @property
    def body(self) -> bytes | None:
        return self._request.content or None

    @property
    def content_type(self) -> str:
        return str(self._request.headers.get("content-type", ""))


_AS_IT_IS = Config(spec_validator_cls=None)  # type: ignore[arg-type]
"""A vendor's file is what it is: only requests are checked."""


@cache
def spec(path: Path) -> OpenAPI:
    """Read it as it lies there; some hold tabs, which YAML does not take."""
    text = path.read_text().replace("\t", " ")
    document: Any = yaml.safe_load(text)
    return OpenAPI(SchemaPath.from_dict(document), config=_AS_IT_IS)


def check_request(path: Path, request: httpx.Request) -> None:
    """Raises an OpenAPIError for a request that the vendor would not take."""
    spec(path).validate_request(_Request(request))
