"""Orders that are under way when the code changes go on: recorded histories replay as they were."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.replay.record import HISTORIES, RUNS, SCENARIOS
from worker.plugin import doms_plugin
from workflows.brokering import BrokeringWorkflow
from workflows.fulfillment import FulfillmentWorkflow
from workflows.order import OrderWorkflow
from workflows.order_planning import Planning


def recorded() -> list[Path]:
    return sorted(HISTORIES.glob("*.json"))


def history_of(path: Path) -> WorkflowHistory:
    """The history; its file is named `scenario.workflow-id.json`."""
    return WorkflowHistory.from_json(path.name.split(".")[1], path.read_text())


def replayer() -> Replayer:
    return Replayer(
        workflows=[OrderWorkflow, FulfillmentWorkflow, BrokeringWorkflow], plugins=[doms_plugin()]
    )


@pytest.mark.parametrize("path", recorded(), ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    result = await replayer().replay_workflow(history_of(path), raise_on_replay_failure=False)
    assert result.replay_failure is None


def test_every_scenario_is_recorded_with_its_order() -> None:
    names = {path.name for path in recorded()}
    wanted = {f"{scenario.__name__}.order-W-1.json" for scenario in SCENARIOS}
    assert wanted - names == set()
    assert {f"{scenario.__name__}.{run}.json" for scenario, x in RUNS.items() for run in x} <= names
    assert sum(".fulfillment-" in name for name in names) >= 12


def test_recordings_name_no_machine_and_no_person() -> None:
    for path in recorded():
        text = path.read_text()
        assert _values(text, "identity") == {"recorder"}, path.name
        assert _values(text, "stackTrace") <= {"left out"}, path.name


def _values(text: str, key: str) -> set[str]:
    return {part.split('"')[0] for part in text.split(f'"{key}":"')[1:]}


async def test_a_workflow_that_does_something_else_does_not_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given: an order that is never released
    async def does_nothing(_: Planning) -> bool:
        return False

    monkeypatch.setattr(Planning, "release", does_nothing)
    history = history_of(HISTORIES / "completed.order-W-1.json")
    # then
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(history)
