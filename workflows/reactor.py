"""What both workflows are made of: a loop of actions that runs until nothing is left to do.

Each action looks at the state and either does one thing and returns True, or returns False. When
none has anything to do, the loop waits for a message or the nearest deadline. Handlers only note
what came in and wake the loop, so state changes in one place, in one order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from workflows.messages import Resume

with workflow.unsafe.imports_passed_through():
    from domain.process_policy import Timings
    from domain.stages import Attention, Choice

Result = TypeVar("Result")
Action = Callable[[], Awaitable[bool]]

DATABASE_TIMEOUT = timedelta(seconds=10)
DECIDING_TIMEOUT = timedelta(seconds=90)
"""An order of a thousand lines that must be split takes the kernel seconds."""
OUTSIDE_TIMEOUT = timedelta(seconds=15)
"""A little over what one call may take, so that the work of a killed worker is soon taken up."""
LOCAL_BOOKKEEPING = 3
"""The behavior from which steps that are no stage are local activities."""
ANSWERS_ARE_KEPT = 6
"""The behavior from which an answer counts that comes while its question is put aside for a cancel
or a new address; before, it was refused."""
DATABASE_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)
)


def never() -> bool:
    """Nothing interrupts."""
    return False


@dataclass(frozen=True)
class Deadline:
    """Something that happens by itself at `at`; `text` says what, for the person who reads."""

    at: datetime
    text: str


class StepAbandonedError(Exception):
    """A person answered a parked step with something other than to try again."""

    def __init__(self, choice: Choice) -> None:
        """Keep the person's choice."""
        super().__init__(choice.value)
        self.choice = choice


class StepInterruptedError(Exception):
    """Something came in that is to be looked at before a parked step is tried again."""


class Reactor:
    """The loop, its waits, parked steps and the calls to activities."""

    def __init__(self, timings: Timings, behavior: int) -> None:
        """Start awake, with nothing parked. `behavior`: see messages.CURRENT_BEHAVIOR."""
        self.timings = timings
        self.behavior = behavior
        self.attention: Attention | None = None
        self._awake = True
        self._resume: Resume | None = None
        self._asked: Attention | None = None
        self._put_aside: Attention | None = None
        """A parked step's question, interrupted; asked again unless the step succeeds."""
        self._early: Resume | None = None
        """What was answered to it meanwhile."""
        self._parks = 0
        self.questions: dict[str, Attention] = {}
        """Step -> what a person is asked while the loop goes on with everything else."""
        self._chosen: dict[str, Resume] = {}
        self._timer: asyncio.Task[None] | None = None
        self._rings_at = datetime.max.replace(tzinfo=UTC)

    def wake(self) -> None:
        """Let the loop look at the state again."""
        self._awake = True

    async def react(self, actions: Sequence[Action], finished: Callable[[], bool]) -> None:
        """Run actions, first one first, until `finished`."""
        while not finished():
            self._awake = False
            for action in actions:
                try:
                    acted = await action()
                except StepAbandonedError as abandoned:
                    await self.on_abandoned(abandoned.choice)
                    acted = True
                if acted:
                    break
            else:
                await self._wait()

    async def shielded(self, main: Awaitable[Result], on_cancel: Callable[[], None]) -> Result:
        """Run `main` to its end; a native cancel becomes a message and interrupts nothing."""
        task = asyncio.ensure_future(main)
        while True:
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.cancelled():
                    raise
                on_cancel()
                self.wake()

    def deadlines(self) -> list[Deadline]:
        """Everything that will happen by itself."""
        raise NotImplementedError

    async def before_wait(self) -> None:
        """Make what is known outside true before the loop sleeps."""
        raise NotImplementedError

    async def on_abandoned(self, choice: Choice) -> None:
        """Act on a person's choice that ended a step."""
        raise NotImplementedError

    def must_stop_parking(self) -> bool:
        """Whether something came in that answers a parked step by itself."""
        return False

    async def _wait(self) -> None:
        await self.before_wait()
        upcoming = min(self.deadlines(), key=lambda d: d.at, default=None)
        if upcoming is not None and (self._timer is None or upcoming.at < self._rings_at):
            self._arm(upcoming)
        await workflow.wait_condition(lambda: self._awake)

    def _arm(self, deadline: Deadline) -> None:
        """Set the one timer. A later deadline keeps the earlier timer: it rings, and sets anew."""
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = deadline.at
        self._timer = asyncio.create_task(self._ring(deadline))

    async def _ring(self, deadline: Deadline) -> None:
        remaining = max(deadline.at - workflow.now(), timedelta(0))
        await workflow.sleep(remaining, summary=deadline.text)
        self._timer = None
        self.wake()

    async def call(
        self,
        method: Callable[..., Any],
        task: Any,
        result: type[Result],
        *,
        summary: str,
        queue: str | None = None,
        choices: tuple[Choice, ...] = (Choice.RETRY,),
        is_stage: bool = True,
        within: timedelta = DATABASE_TIMEOUT,
        unless: Callable[[], bool] = never,
    ) -> Result:
        """Run an activity; what cannot succeed waits for a person's choice.

        With `queue`, the call goes to an outside system: it is retried until the vendor deadline.
        Bookkeeping between the stages (`is_stage` false) runs within the workflow task.
        Raises StepAbandonedError when the person chose not to try again, StepInterruptedError when
        `unless` came true while an outside system was away or a person was asked.
        """
        while True:
            try:
                if is_stage or self.behavior < LOCAL_BOOKKEEPING:
                    answer = await self._execute(method, task, summary, queue, within, unless)
                else:
                    answer = await self._keep_books(method, task, summary)
            except ActivityError as failure:
                step = failure.activity_type
                resume = await self.park(step, _reason(failure), choices, unless)
                if resume.choice is not Choice.RETRY:
                    raise StepAbandonedError(resume.choice) from failure
                continue
            if result is not type(None) and not isinstance(answer, result):
                raise ApplicationError(f"{method.__name__} answered {type(answer).__name__}")
            self._forget_put_aside(method.__name__)
            return answer  # type: ignore[no-any-return]

    async def _execute(
        self,
        method: Callable[..., Any],
        task: Any,
        summary: str,
        queue: str | None,
        within: timedelta,
        unless: Callable[[], bool],
    ) -> Any:
        if queue is None:
            return await workflow.execute_activity_method(
                method,
                task,
                start_to_close_timeout=within,
                retry_policy=DATABASE_RETRIES,
                summary=summary,
            )
        calling = workflow.start_activity_method(
            method,
            task,
            task_queue=queue,
            start_to_close_timeout=max(within, OUTSIDE_TIMEOUT),
            schedule_to_close_timeout=self.timings.vendor_deadline,
            retry_policy=RetryPolicy(
                initial_interval=self.timings.vendor_retry_first,
                maximum_interval=self.timings.vendor_retry_longest,
            ),
            # An attempt under way is waited for: what it achieved must be known.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=summary,
        )
        return await (calling if unless is never else _unless(calling, unless))

    async def _keep_books(self, method: Callable[..., Any], task: Any, summary: str) -> Any:
        # A local activity: one event instead of six. It has only the worker's clock, so the task
        # says when it is.
        return await workflow.execute_local_activity_method(
            method,
            task.model_copy(update={"at": workflow.now()}),
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=DATABASE_RETRIES,
            summary=summary,
        )

    async def park(
        self,
        step: str,
        reason: str,
        choices: tuple[Choice, ...],
        unless: Callable[[], bool] = never,
    ) -> Resume:
        """Show a person what is stuck, and wait for a choice that is offered.

        Where CANCEL is offered, a whole cancel that comes in is such a choice. Elsewhere it waits:
        what gives units back must not be left half done. Raises StepInterruptedError once `unless`
        holds; asked again, it is the same question.
        """

        def is_cancelled() -> bool:
            return Choice.CANCEL in choices and self.must_stop_parking()

        answer = await self.ask(step, reason, choices, unless=lambda: is_cancelled() or unless())
        if answer is not None:
            return answer
        if not is_cancelled():
            if self.behavior >= ANSWERS_ARE_KEPT:
                self._put_aside = self._asked
            raise StepInterruptedError
        park_id, self._asked = f"{step}-{self.parks}", None
        return Resume(request_id=f"{park_id}/cancelled", park_id=park_id, choice=Choice.CANCEL)

    async def ask(
        self,
        step: str,
        reason: str,
        choices: tuple[Choice, ...],
        *,
        unless: Callable[[], bool],
        until: datetime | None = None,
    ) -> Resume | None:
        """Show a person a question; their choice, or None once `unless` holds or `until` is past.

        Asked again after an interruption, it is the same question, under the same park id.
        """
        asked, aside = self._asked, self._put_aside
        self._resume = None
        if aside is not None and aside.step == step:
            # The step was tried again: what it failed by may be worded anew.
            asked = aside.model_copy(update={"reason": reason[:250]})
            self._resume, self._early, self._put_aside = self._early, None, None
        elif asked is None or (asked.step, asked.reason) != (step, reason[:250]):
            asked = self._attention(step, reason, choices)
        self.attention = self._asked = asked
        await self.before_wait()
        answer = await self._answered(unless, until)
        self.attention = self._first_question
        if answer is not None:
            self._asked = None
        return answer

    def _forget_put_aside(self, step: str) -> None:
        if self._put_aside is not None and self._put_aside.step == step:
            self._put_aside = self._asked = self._early = None

    def question(self, step: str, reason: str, choices: tuple[Choice, ...]) -> Resume | None:
        """Ask a person and go on; their choice once it is there.

        It stays open, under one park id, until it is answered or `withdraw` is called.
        """
        if step not in self.questions:
            self.questions[step] = self._attention(step, reason, choices)
        self.attention = self._first_question
        answer = self._chosen.pop(self.questions[step].park_id, None)
        if answer is not None:
            self.withdraw(step)
        return answer

    def withdraw(self, step: str) -> None:
        """What was asked needs no answer any more."""
        asked = self.questions.pop(step, None)
        if asked is not None:
            self._chosen.pop(asked.park_id, None)
            self.attention = self._first_question

    @property
    def _first_question(self) -> Attention | None:
        return next(iter(self.questions.values()), None)

    def _attention(self, step: str, reason: str, choices: tuple[Choice, ...]) -> Attention:
        self.parks += 1
        return Attention(
            park_id=f"{step}-{self.parks}",
            step=step,
            reason=reason[:250],
            choices=choices,
            since=workflow.now(),
        )

    @property
    def parks(self) -> int:
        """How many questions were asked: no two have the same park id."""
        return self._parks

    @parks.setter
    def parks(self, asked: int) -> None:
        self._parks = asked

    def waiting(self, park_id: str) -> Attention | None:
        """The open question of that park id."""
        asked = (self.attention, *self.questions.values(), self._put_aside)
        return next((x for x in asked if x is not None and x.park_id == park_id), None)

    async def _answered(self, unless: Callable[[], bool], until: datetime | None) -> Resume | None:
        remaining = None if until is None else max(until - workflow.now(), timedelta(0))
        with suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._resume is not None or unless(),
                timeout=remaining,
                timeout_summary="wait no longer for a person",
            )
        answer, self._resume = self._resume, None
        return answer

    def why_not_resume(self, resume: Resume) -> str | None:
        """Why the answer does not fit now, or None when it does; nothing is taken."""
        asked = self.waiting(resume.park_id)
        if asked is None:
            if self.attention is None:
                return "nothing waits for a choice"
            return f"what waits is {self.attention.park_id}, not {resume.park_id}"
        if resume.choice not in asked.choices:
            offered = ", ".join(choice.value for choice in asked.choices)
            return f"choose one of {offered}"
        is_open = asked.step in self.questions
        taken = self._early if asked is self._put_aside else self._resume
        if resume.park_id in self._chosen or (taken is not None and not is_open):
            return "somebody has just answered"
        return None

    def resume_with(self, resume: Resume) -> str | None:
        """Answer the parked step. Returns why the answer does not fit, or None when taken."""
        asked, refusal = self.waiting(resume.park_id), self.why_not_resume(resume)
        if asked is None or refusal is not None:
            return refusal
        if asked.step in self.questions:
            self._chosen[resume.park_id] = resume
        elif asked is self._put_aside:
            self._early = resume
        else:
            self._resume = resume
        self.wake()
        return None


def refuse(reason: str | None) -> None:
    """In an update's validator: answer that it is refused, and why; None lets it pass."""
    if reason is not None:
        raise ApplicationError(reason, type="Refused", non_retryable=True)


def _reason(failure: FailureError) -> str:
    cause: BaseException = failure
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return cause.message if isinstance(cause, FailureError) else str(cause)


async def _unless(calling: workflow.ActivityHandle[Any], unless: Callable[[], bool]) -> Any:
    """The call's answer, or StepInterruptedError when it had none yet as `unless` came true."""
    await workflow.wait_condition(lambda: calling.done() or unless())
    is_interrupted = not calling.done()
    if is_interrupted:
        calling.cancel()
    try:
        return await calling
    except ActivityError as failure:
        if is_interrupted:
            raise StepInterruptedError from failure
        raise
