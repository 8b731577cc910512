"""Workflow modules import nothing by accident: all that passes the sandbox is named."""

import dataclasses
import warnings

import pytest
from temporalio.workflow import SandboxImportNotificationPolicy, _Definition

from worker.plugin import sandbox
from workflows.fulfillment import FulfillmentWorkflow
from workflows.order import OrderWorkflow


@pytest.mark.parametrize("workflow_class", [OrderWorkflow, FulfillmentWorkflow])
async def test_a_workflow_imports_into_the_sandbox_only_modules_of_workflows(
    workflow_class: type,
) -> None:
    # given: the sandbox of all tests, which also tells what it loads anew for a workflow
    runner = sandbox()
    telling = dataclasses.replace(
        runner.restrictions,
        import_notification_policy=SandboxImportNotificationPolicy.WARN_ON_UNINTENTIONAL_PASSTHROUGH,
    )
    definition = _Definition.must_from_class(workflow_class)
    # when
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataclasses.replace(runner, restrictions=telling).prepare_workflow(definition)
    # then
    loaded = {str(warning.message).split()[1] for warning in caught}
    assert "workflows.reactor" in loaded
    assert {name for name in loaded if name.partition(".")[0] != "workflows"} == set()
