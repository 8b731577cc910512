"""The time-skipping server, and a world on it."""

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment

from store.engine import open_engine
from tests.workflow.world import World, running, settings_for
from worker.plugin import doms_plugin, sandbox
from workflows.search_attributes import SEARCH_ATTRIBUTES

BINARY = Path(sys.executable).parent / "temporal-test-server"
TEMPORAL = Path(sys.executable).parent / "temporal"
_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}

_METHODS = {
    "Keyword": "for_keyword",
    "KeywordList": "for_keyword_list",
    "Datetime": "for_datetime",
    "Double": "for_float",
    "Bool": "for_bool",
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
async def development_server() -> AsyncIterator[WorkflowEnvironment]:
    """A real server, whose time does not jump: it can reset and terminate workflows."""
    keys: list[SearchAttributeKey[Any]] = [
        getattr(SearchAttributeKey, _METHODS[kind])(name)
        for name, kind in SEARCH_ATTRIBUTES.items()
    ]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL),
        dev_server_log_level="never",
        plugins=[doms_plugin(sandbox())],
        search_attributes=keys,
    ) as env:
        yield env


@asynccontextmanager
async def world_on(
    server: WorkflowEnvironment, template: Path, folder: Path, *, is_versioned: bool = False
) -> AsyncIterator[World]:
    """A world at work in that folder; its store begins as a copy of a migrated one."""
    settings = settings_for(folder)
    shutil.copyfile(template, folder / "doms.db")
    engine = open_engine(settings.database)
    try:
        async with running(World(server, engine, settings), is_versioned=is_versioned) as world:
            yield world
    finally:
        engine.dispose()
