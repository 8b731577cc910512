"""The vendors' own specs and recorded traffic, where they lie beside the project."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VENDORS = Path(__file__).parents[2].parent / "shared" / "vendor"


def needs(vendor: str) -> pytest.MarkDecorator:
    """Skip, saying so, in a clone without that vendor's material."""
    folder = VENDORS / vendor
    return pytest.mark.skipif(not folder.exists(), reason=f"{folder} is not here")


@cache
def document(path: str) -> Any:
    return json.loads((VENDORS / path).read_text())


def objects(value: Any, kind: str) -> Iterator[dict[str, Any]]:
    """Every object of that kind, at any depth, by its `object` field."""
    if isinstance(value, dict):
        if value.get("object") == kind:
            yield value
        for inner in value.values():
            yield from objects(inner, kind)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner, kind)
