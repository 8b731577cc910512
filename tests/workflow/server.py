"""The time-skipping server, and a world on it."""

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from store.engine import open_engine
from tests.workflow.world import World, running, settings_for
from worker.plugin import doms_plugin, sandbox
from workflows.search_attributes import SEARCH_ATTRIBUTES

BINARY = Path(sys.executable).parent / "temporal-test-server"
_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}


@asynccontextmanager
async def time_skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """A server whose time jumps, with doms's attributes; its workflows run in the sandbox."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(BINARY), plugins=[doms_plugin(sandbox())]
    ) as env:
        request = AddSearchAttributesRequest(namespace=env.client.namespace)
        for name, kind in SEARCH_ATTRIBUTES.items():
            request.search_attributes[name] = _TYPES[kind]
        await env.client.operator_service.add_search_attributes(request)
        yield env


@asynccontextmanager
async def world_on(
    server: WorkflowEnvironment, template: Path, folder: Path
) -> AsyncIterator[World]:
    """A world at work in that folder; its store begins as a copy of a migrated one."""
    settings = settings_for(folder)
    shutil.copyfile(template, folder / "doms.db")
    engine = open_engine(settings.database)
    try:
        async with running(World(server, engine, settings)) as world:
            yield world
    finally:
        engine.dispose()
