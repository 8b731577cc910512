"""One-shot of a deployment: the Temporal namespace, its search attributes, doms's schedules.

    python deploy/prepare_temporal.py

May run again at every deployment: what is there stays, retention follows the settings.
"""

import asyncio
import sys
import time
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from config.settings import Settings, load_settings
from worker.composition import connect
from worker.schedules import make_schedules
from workflows.search_attributes import SEARCH_ATTRIBUTES

PATIENCE_SECONDS = 60.0
"""A new namespace is known to every part of the server only after some seconds."""

_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}


async def prepare(client: Client, settings: Settings) -> list[str]:
    """Make what is missing; the names of the search attributes added now. Raises RPCError."""
    retention = Duration()
    retention.FromTimedelta(timedelta(days=settings.retention_days))
    await _make_namespace(client, retention)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await _add_missing(client)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.5)


async def _make_namespace(client: Client, retention: Duration) -> None:
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=client.namespace, workflow_execution_retention_period=retention
            )
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
        config = NamespaceConfig(workflow_execution_retention_ttl=retention)
        await client.workflow_service.update_namespace(
            UpdateNamespaceRequest(namespace=client.namespace, config=config)
        )


async def _add_missing(client: Client) -> list[str]:
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = [name for name in SEARCH_ATTRIBUTES if name not in known.custom_attributes]
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes={name: _TYPES[SEARCH_ATTRIBUTES[name]] for name in missing},
            )
        )
    return missing


async def _main() -> int:
    settings = load_settings()
    client = await connect(settings)
    added = await prepare(client, settings)
    await make_schedules(client, settings)
    print(f"the namespace is ready; {len(added)} search attributes added")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
