"""One plugin for client, worker and replayer: the same converter and sandbox everywhere."""

import dataclasses

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from worker.interceptors import ErrorMapping


def _converter(_: DataConverter | None) -> DataConverter:
    return pydantic_data_converter


def _runner(runner: WorkflowRunner | None) -> WorkflowRunner:
    restrictions = SandboxRestrictions.default.with_passthrough_modules("domain", "activities")
    if isinstance(runner, SandboxedWorkflowRunner):
        return dataclasses.replace(runner, restrictions=restrictions)
    return SandboxedWorkflowRunner(restrictions=restrictions)


def doms_plugin() -> SimplePlugin:
    """The plugin every client, worker and replayer of doms is made with."""
    return SimplePlugin(
        "doms", data_converter=_converter, workflow_runner=_runner, interceptors=[ErrorMapping()]
    )
