"""The deployment's files, read once, for the tests beside this module."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
_INTERPOLATION = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
VALUES = {
    "POSTGRES_PASSWORD": "secret",
    "DOMS_WEBHOOK_SECRET": "whsec_c2VjcmV0c2VjcmV0",
    "DOMS_HASH_SECRET": "c2VjcmV0",
}
"""What an operator fills in."""


@cache
def compose_text() -> str:
    return (ROOT / "docker-compose.yml").read_text()


@cache
def compose() -> dict[str, Any]:
    """The document, its variables replaced as `docker compose` would."""
    document: dict[str, Any] = yaml.safe_load(_INTERPOLATION.sub(_value, compose_text()))
    return document


def _value(found: re.Match[str]) -> str:
    name, kind, rest = found["name"], found["kind"], found["rest"]
    return VALUES.get(name, rest if kind == "-" else "")


def required_variables() -> set[str]:
    return {x["name"] for x in _INTERPOLATION.finditer(compose_text()) if x["kind"] == "?"}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def own_services() -> dict[str, dict[str, Any]]:
    """Those that run doms's own image."""
    return {name: one for name, one in services().items() if "build" in one}


def simulators() -> dict[str, list[str]]:
    """Service -> the arguments of `doms simulators`."""
    return {
        name: one["command"][1:]
        for name, one in own_services().items()
        if one.get("command", [""])[0] == "simulators"
    }


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages() -> list[str]:
    """The packages that pyproject.toml installs."""
    include = project()["tool"]["setuptools"]["packages"]["find"]["include"]
    return [pattern.removesuffix("*") for pattern in include]


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments) in order."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    found = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(instruction, arguments) for instruction, _, arguments in found]


def copied() -> list[str]:
    """What the Dockerfile copies from the project's folder."""
    sources: list[str] = []
    for instruction, arguments in dockerfile():
        if instruction == "COPY" and not arguments.startswith("--from="):
            sources += arguments.split()[:-1]
    return sources
