"""Worker deployment versions: a versioned worker gets no tasks until its version is current.

Making a version current also brings the schedules up to date that its workflows serve.
"""

import asyncio
import os
import sys
import time

from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from config.settings import Settings, load_settings
from worker.composition import connect
from worker.schedules import make_schedules


def deployment_config(settings: Settings) -> WorkerDeploymentConfig:
    """The version this worker polls as; orders move to newer versions by themselves."""
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def set_current(client: Client, settings: Settings, *, wait_seconds: float = 60) -> None:
    """Make this build the current one. Waits for its worker's first poll; raises RPCError after."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace,
        deployment_name=settings.deployment_name,
        build_id=settings.build_id,
        ignore_missing_task_queues=True,
    )
    give_up = time.monotonic() + wait_seconds
    while True:
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError as error:
            not_yet = error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION}
            if not not_yet or time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.2)
        else:
            return


async def _main() -> None:
    settings = load_settings()
    client = await connect(settings)
    await set_current(client, settings)
    await make_schedules(client, settings)


if __name__ == "__main__":
    if sys.argv[1:] != ["set-current"]:
        sys.exit("usage: python -m worker.deployment set-current")
    asyncio.run(_main())
    # The SDK's own threads now and then abort an interpreter that ends as soon as it began.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
