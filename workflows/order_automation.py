"""What the process policy's automation rules do to an order."""

from collections.abc import Callable

from temporalio import workflow

from workflows.messages import PlaceHold
from workflows.order_commands import Commands
from workflows.order_core import OrderCore

with workflow.unsafe.imports_passed_through():
    from domain.automation import NOTICE, RULE, Action, AutomationRule, OrderEvent
    from domain.quantities import Bucket
    from domain.stages import Choice


class Automation:
    """Each rule acts once: when its event is first seen to have happened."""

    def __init__(self, core: OrderCore, commands: Commands) -> None:
        """Nothing has happened yet."""
        self._core = core
        self._commands = commands
        self._happened: dict[OrderEvent, Callable[[], bool]] = {
            OrderEvent.ACCEPTED: lambda: True,
            OrderEvent.RESERVED: lambda: bool(core.state.pending),
            OrderEvent.BACKORDERED: lambda: bool(core.state.book.units(Bucket.BACKORDERED)),
            OrderEvent.REROUTED: lambda: core.state.reroutes > 0,
            OrderEvent.LATE: lambda: core.is_late,
        }

    async def act(self) -> bool:
        """Do what the next rule says, or take an answer to what one asked."""
        facts, done = self._core.state.facts, self._core.state.automated
        if facts is None or not facts.automation:
            return False
        for rule in facts.automation:
            if rule.name not in done and self._happened[rule.event]():
                done.append(rule.name)
                self._do(rule)
                return True
            if rule.name in done and self._is_answered(rule):
                return True
        return False

    def _do(self, rule: AutomationRule) -> None:
        if rule.do is Action.HOLD:
            after = rule.expires_after
            hold = PlaceHold(
                request_id=f"automation/{rule.name}",
                type=rule.hold or "automation",
                owner="automation",
                reason=rule.told,
                expires_at=None if after is None else workflow.now() + after,
            )
            self._commands.take(hold)
        elif rule.do is Action.NOTIFY:
            self._core.note(NOTICE, f"{rule.name}: {rule.told}")
        else:
            self._core.note("automation", f"{rule.name}: a person is asked to look")
            self._core.question(_step(rule), rule.told, (Choice.SKIP,))

    def _is_answered(self, rule: AutomationRule) -> bool:
        if _step(rule) not in self._core.questions:
            return False
        if self._core.question(_step(rule), rule.told, (Choice.SKIP,)) is None:
            return False
        self._core.note("automation", f"{rule.name}: a person has looked")
        return True


def _step(rule: AutomationRule) -> str:
    return f"{RULE}{rule.name}"
