"""The time-skipping server, and a fresh world for each test."""

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from store.engine import open_engine
from tests.workflow.world import World, running, settings_for
from worker.plugin import doms_plugin, sandbox
from workflows.search_attributes import SEARCH_ATTRIBUTES

_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}


@pytest_asyncio.fixture
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """A server whose time jumps; a new one for each test, since time never goes back."""
    binary = Path(sys.executable).parent / "temporal-test-server"
    if not binary.exists():
        pytest.skip(f"no {binary.name} beside {sys.executable}: run make install")
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(binary), plugins=[doms_plugin(sandbox())]
    ) as env:
        request = AddSearchAttributesRequest(namespace=env.client.namespace)
        for name, kind in SEARCH_ATTRIBUTES.items():
            request.search_attributes[name] = _TYPES[kind]
        await env.client.operator_service.add_search_attributes(request)
        yield env


@pytest_asyncio.fixture
async def world(
    skipping_server: WorkflowEnvironment, sqlite_template: Path, tmp_path: Path
) -> AsyncIterator[World]:
    """A world at work, with an empty network: call `prepare` and `stock`."""
    settings = settings_for(tmp_path)
    shutil.copyfile(sqlite_template, tmp_path / "doms.db")
    engine = open_engine(settings.database)
    async with running(World(skipping_server, engine, settings)) as world:
        yield world
    engine.dispose()
