"""`doms connections check`, against this deployment's own database."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import respx

from domain.network import Connection, ConnectionClass, Network
from starter.cli import main
from store import network
from store.engine import migrate, open_engine, transaction


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMS_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path / 'doms.db'}"
    monkeypatch.setenv("DOMS_DATABASE_URL", url)
    monkeypatch.delenv("DOMS_WEBHOOK_SECRET", raising=False)
    engine = open_engine(url)
    migrate(engine)
    connections = tuple(
        Connection(
            connection_id=name,
            kind=ConnectionClass.WMS,
            vendor="reference",
            base_url=f"http://{name}.test",
        )
        for name in ("wms-1", "wms-2")
    )
    with transaction(engine) as session:
        network.import_network(session, Network(connections=connections), (), datetime.now(UTC))
    engine.dispose()


@pytest.mark.usefixtures("configured")
def test_each_connection_is_tried_and_one_that_fails_fails_the_command(
    respx_mock: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    respx_mock.get("http://wms-1.test/healthz").respond(200, json={})
    respx_mock.get("http://wms-2.test/healthz").respond(401, json={"message": "who are you"})

    status = main(["connections", "check", "--json"])

    assert status == 1
    assert json.loads(capsys.readouterr().out) == [
        {"connection": "wms-1", "vendor": "reference", "ok": True, "found": "answers"},
        {
            "connection": "wms-2",
            "vendor": "reference",
            "ok": False,
            "found": "GET http://wms-2.test/healthz answered 401: who are you",
        },
    ]


@pytest.mark.usefixtures("configured")
def test_only_the_named_ones_are_tried(
    respx_mock: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    respx_mock.get("http://wms-1.test/healthz").respond(200, json={})

    assert main(["connections", "check", "wms-1"]) == 0
    assert "wms-1" in capsys.readouterr().out
    assert main(["connections", "check", "wms-9"]) == 1
    assert "no connection 'wms-9'; known: wms-1, wms-2" in capsys.readouterr().err


@pytest.mark.usefixtures("configured")
def test_the_secret_kept_in_the_home_proves_webhooks_as_it_does_for_the_worker(
    tmp_path: Path,
    respx_mock: respx.MockRouter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'doms.db'}")
    signing = Connection(
        connection_id="wms-3",
        kind=ConnectionClass.WMS,
        vendor="reference",
        base_url="http://wms-3.test",
        secret_env="DOMS_WEBHOOK_SECRET",
    )
    with transaction(engine) as session:
        network.import_network(session, Network(connections=(signing,)), (), datetime.now(UTC))
    engine.dispose()
    respx_mock.get("http://wms-3.test/healthz").respond(200, json={})

    assert main(["connections", "check", "wms-3"]) == 1
    assert "set the variable DOMS_WEBHOOK_SECRET" in capsys.readouterr().out
    (tmp_path / "webhook_secret").write_text("whsec_c2VjcmV0")
    assert main(["connections", "check", "wms-3"]) == 0
    assert "cannot be proved" not in capsys.readouterr().out
