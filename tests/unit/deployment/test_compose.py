"""docker-compose.yml cannot run in a test; it is held to its schema and to the code."""

import argparse
import importlib.util
import json
import re
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import typer
from fastapi import FastAPI
from sqlalchemy.engine import make_url
from starlette.routing import Route

from config.samples import load_network
from config.settings import Settings
from domain.network import ConnectionClass
from integrations.simulators.__main__ import _application, _parser
from starter.api.operations import router
from starter.cli import app
from starter.commands.stack import SIMULATORS, temporal_binary
from tests.unit.deployment.files import (
    ROOT,
    VALUES,
    compose,
    own_services,
    required_variables,
    services,
    simulators,
)

PINNED = re.compile(r"^[a-z0-9/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?$")


def settings_in_compose(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as the API's and the worker's process read them."""
    for name, value in own_services()["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def simulator_options(service: str) -> argparse.Namespace:
    return _parser().parse_args(simulators()[service])


def health_url(service: str) -> str:
    found = re.search(r"http://[^']+", " ".join(services()[service]["healthcheck"]["test"]))
    assert found is not None
    return found[0]


def test_the_file_meets_the_compose_specification() -> None:
    schema = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    specification = json.loads(schema.read_text())
    jsonschema.Draft7Validator.check_schema(specification)

    jsonschema.validate(compose(), specification, cls=jsonschema.Draft7Validator)


def test_every_image_is_pinned_to_a_version() -> None:
    images = {name: one["image"] for name, one in services().items()}

    assert {name for name, image in images.items() if not PINNED.match(image)} == set()


def test_temporal_is_the_version_that_runs_on_a_developer_s_machine() -> None:
    shown = subprocess.run(
        [str(temporal_binary()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    server, ui = re.findall(r"(?:Server|UI) (\d+\.\d+\.\d+)", shown)

    assert services()["temporal"]["image"] == f"temporalio/server:{server}"
    assert services()["temporal-schema"]["image"] == f"temporalio/admin-tools:{server}"
    assert services()["temporal-ui"]["image"] == f"temporalio/ui:{ui}"


def test_every_variable_for_doms_is_a_setting_and_has_a_valid_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {f"DOMS_{name.upper()}" for name in Settings.model_fields}
    for service in own_services().values():
        assert set(service["environment"]) <= known

    settings = settings_in_compose(monkeypatch)

    assert settings.webhook_secret == VALUES["DOMS_WEBHOOK_SECRET"]
    assert settings.build_id == own_services()["worker"]["image"].partition(":")[2]
    assert settings.needs_api_key


def test_what_an_operator_must_fill_in_stands_in_the_example() -> None:
    example = (ROOT / "deploy" / "example.env").read_text()

    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == required_variables()


def test_doms_finds_its_database_and_temporal_by_their_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_in_compose(monkeypatch)
    database, postgres = make_url(settings.database), services()["postgres"]["environment"]
    temporal = urlsplit(f"//{settings.temporal_address}")

    assert (database.host, database.port) == ("postgres", 5432)
    assert database.database == postgres["POSTGRES_DB"]
    assert (database.username, database.password) == (
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_PASSWORD"],
    )
    assert temporal.hostname == "temporal"
    assert services()["temporal"]["ports"] == [f"127.0.0.1:{temporal.port}:7233"]
    ui = services()["temporal-ui"]
    assert ui["environment"]["TEMPORAL_ADDRESS"] == settings.temporal_address
    assert ui["environment"]["TEMPORAL_DEFAULT_NAMESPACE"] == settings.temporal_namespace


def test_links_in_answers_lead_to_published_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in_compose(monkeypatch)

    assert services()["api"]["ports"] == [f"127.0.0.1:8080:{settings.api_port}"]
    assert settings.base_url == "http://127.0.0.1:8080"
    assert services()["temporal-ui"]["ports"] == ["127.0.0.1:8233:8080"]
    assert settings.temporal_ui == "http://127.0.0.1:8233"


def test_ports_are_published_on_loopback_only() -> None:
    for service in services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_the_api_s_health_check_asks_a_path_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    url = urlsplit(health_url("api"))
    api = FastAPI()
    api.include_router(router)

    assert url.port == settings_in_compose(monkeypatch).api_port
    assert url.path in set(api.openapi()["paths"])


def test_a_simulator_stands_in_for_every_outside_system_of_the_sample() -> None:
    outside = {ConnectionClass.WMS, ConnectionClass.POS, ConnectionClass.THREEPL}
    wanted = {
        connection.kind.value: connection.connection_id
        for connection in load_network().connections
        if connection.kind in outside | {ConnectionClass.CARRIER}
    }

    found = {simulator_options(x).kind: simulator_options(x).connection for x in simulators()}

    assert found == wanted == SIMULATORS


@pytest.mark.parametrize("service", sorted(simulators()))
def test_a_simulator_is_where_the_others_look_for_it(service: str, tmp_path: Path) -> None:
    options = simulator_options(service)
    defaults = Settings.model_fields
    reached_at = dict(x.split("=", 1) for x in services()["prepare-store"]["command"][1:])
    carrier = "" if options.kind == "carrier" else "http://simulator-carrier:8094"

    assert options.port == defaults[f"{options.kind}_port"].default
    assert services()[service]["ports"] == [f"127.0.0.1:{options.port}:{options.port}"]
    assert reached_at[options.connection] == f"http://{service}:{options.port}"
    assert options.host == "0.0.0.0"  # noqa: S104 (inside its own container)
    assert options.callback == "http://api:8080"
    assert options.carrier == carrier
    assert options.secret_env in services()[service]["environment"]
    assert options.database.startswith("/data/")
    health = urlsplit(health_url(service))
    assert health.port == options.port
    options.database = str(tmp_path / "simulator.db")
    served = _application(options, VALUES["DOMS_WEBHOOK_SECRET"], None).routes
    assert health.path in {route.path for route in served if isinstance(route, Route)}


def test_every_service_runs_a_command_or_script_there_is() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for service in own_services().values():
        first, *others = service["command"]
        if service.get("entrypoint") != ["python"]:
            assert first in commands
        elif first == "-m":
            assert importlib.util.find_spec(others[0]) is not None
        else:
            assert (ROOT / first).is_file()


def test_the_worker_s_version_is_made_current_in_the_same_deployment() -> None:
    version, worker = own_services()["worker-version"], own_services()["worker"]

    assert version["command"] == ["-m", "worker.deployment", "set-current"]
    for name in ("DOMS_DEPLOYMENT_NAME", "DOMS_BUILD_ID", "DOMS_TEMPORAL_NAMESPACE"):
        assert version["environment"][name] == worker["environment"][name]


def test_nothing_starts_before_what_it_needs() -> None:
    conditions: dict[str, dict[str, Any]] = {
        name: one.get("depends_on", {}) for name, one in services().items()
    }

    for needs in conditions.values():
        for needed, how in needs.items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services()[needed]
            if how["condition"] == "service_completed_successfully":
                assert services()[needed]["restart"].startswith("on-failure")
    for name in ("api", "worker"):
        assert set(conditions[name]) == {"prepare-store", "prepare-temporal"}


def test_mounted_files_are_there() -> None:
    for service in services().values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file()
            else:
                assert source in compose()["volumes"]
