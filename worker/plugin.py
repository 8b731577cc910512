"""One plugin for client, worker and replayer: the same converter, runner and error mapping."""

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from worker.interceptors import ErrorMapping


def _converter(_: DataConverter | None) -> DataConverter:
    return pydantic_data_converter


def sandbox() -> SandboxedWorkflowRunner:
    """The sandbox that tests run workflows in: all of `workflows` that acts is watched in it.

    Models only hold data; they are most of what an import anew would cost.
    """
    models = ("domain", "activities", "workflows.messages", "workflows.order_state")
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*models)
    )


def doms_plugin(runner: WorkflowRunner | None = None) -> SimplePlugin:
    """The plugin every client, worker and replayer of doms is made with.

    The sandbox imports every workflow module anew for each order, which costs more than running
    it. Tests pay that price and catch whatever is not deterministic; a worker does not.
    """
    return SimplePlugin(
        "doms",
        data_converter=_converter,
        workflow_runner=runner or UnsandboxedWorkflowRunner(),
        interceptors=[ErrorMapping()],
    )
