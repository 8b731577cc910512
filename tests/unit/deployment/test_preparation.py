"""The one-shots of a deployment, run as a deployment runs them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from config.samples import load_network
from starter.commands.stack import temporal_binary
from store import network
from store.engine import open_engine, reading
from tests.conftest import Postgres
from tests.unit.deployment.files import ROOT
from workflows.search_attributes import SEARCH_ATTRIBUTES


def run(
    script: str, *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "deploy" / script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def addresses(url: str) -> dict[str, str]:
    engine = open_engine(url)
    with reading(engine) as session:
        found = network.load_network(session)
    engine.dispose()
    return {one.connection_id: one.base_url or "" for one in found.connections}


def test_an_empty_store_gets_the_sample_pointed_at_its_simulators(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'doms.db'}"
    sample = {one.connection_id: one.base_url for one in load_network().connections}

    done = run("prepare_store.py", "wms-main=http://wms:1", folder=tmp_path, DOMS_DATABASE_URL=url)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "loaded the sample network\n"
    assert addresses(url) == {**sample, "wms-main": "http://wms:1"}


def test_postgresql_is_prepared_the_same_way(postgres: Postgres, tmp_path: Path) -> None:
    if postgres.why_not:
        pytest.skip(postgres.why_not)
    url = postgres.create("deployment_preparation")

    done = run("prepare_store.py", "wms-main=http://wms:1", folder=tmp_path, DOMS_DATABASE_URL=url)

    assert (done.returncode, done.stdout) == (0, "loaded the sample network\n"), done.stderr
    assert addresses(url)["wms-main"] == "http://wms:1"


def test_a_store_with_a_network_keeps_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'doms.db'}"
    run("prepare_store.py", "wms-main=http://wms:1", folder=tmp_path, DOMS_DATABASE_URL=url)
    before = addresses(url)

    done = run("prepare_store.py", folder=tmp_path, DOMS_DATABASE_URL=url)

    assert (done.returncode, done.stdout) == (0, "the store has a network: kept\n")
    assert addresses(url) == before


def test_an_argument_that_is_no_address_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    database = tmp_path / "doms.db"

    done = run(
        "prepare_store.py", "wms-main", folder=tmp_path, DOMS_DATABASE_URL=f"sqlite:///{database}"
    )

    assert (done.returncode, done.stderr) == (2, "'wms-main': write it as CONNECTION=URL\n")
    assert not database.exists()


@pytest.fixture
def temporal() -> Iterator[str]:
    """A Temporal server that knows nothing of doms; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    server = [str(temporal_binary()), "server", "start-dev", "--headless", "--log-level", "never"]
    process = subprocess.Popen(
        [*server, "--ip", "127.0.0.1", "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 60
        health = [str(temporal_binary()), "operator", "cluster", "health", "--address", address]
        while subprocess.run(health, capture_output=True, check=False).returncode:
            assert process.poll() is None, "the Temporal server ended at once"
            assert time.monotonic() < give_up, "the Temporal server does not answer"
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
async def test_the_namespace_has_its_retention_and_every_search_attribute(
    temporal: str, tmp_path: Path
) -> None:
    settings = {"DOMS_TEMPORAL_ADDRESS": temporal, "DOMS_TEMPORAL_NAMESPACE": "shop"}
    first = run("prepare_temporal.py", folder=tmp_path, **settings)

    again = run("prepare_temporal.py", folder=tmp_path, **settings, DOMS_RETENTION_DAYS="45")

    ready = "the namespace is ready; {} search attributes added\n"
    assert first.stdout == ready.format(len(SEARCH_ATTRIBUTES)), first.stderr
    assert again.stdout == ready.format(0), again.stderr
    client = await Client.connect(temporal, namespace="shop")
    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="shop")
    )
    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    assert kept == timedelta(days=45)
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace="shop")
    )
    assert set(listed.custom_attributes) >= set(SEARCH_ATTRIBUTES)
