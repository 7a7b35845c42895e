"""A refund until the buyer has the money: asked of the provider once, followed while it waits, a person's if it fails.

`run` begins by reading where things stand, so it can be ended and begun again at any moment.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.delivery.tasks import Tasks
    from activities.payments.refunds import Refunds
    from models.delivery.tasks import CloseTask, OpenTask, Outcome, TaskResolved
    from models.errors import HoldfastError
    from models.payments.provider import RefundAt
    from models.payments.refunds import RefundPart, RefundRef, RefundStanding, RefundTask
    from models.states import RefundStatus
    from workflows.failures import refusal_in
    from workflows.options import COMPENSATION, DATABASE, REFUND_LOOKS

WORDS = {
    RefundStatus.PENDING: "On its way",
    RefundStatus.SUCCEEDED: "The money is with the buyer's bank",
    RefundStatus.FAILED: "Failed, and seen to by a person",
}


@workflow.defn(name="Refund", failure_exception_types=[HoldfastError])
class Refund:
    @workflow.init
    def __init__(self, ref: RefundRef) -> None:
        self._ref = ref
        self._news = False  # the provider has something to say, also of what has ended
        self._words: list[TaskResolved] = []
        self._looks = 0
        self._waits_for_buyer = False

    @workflow.run
    async def run(self, ref: RefundRef) -> RefundStatus | None:
        """Until each part has its end at the provider and the books, or a person has seen to it. None: no refund."""
        standing = await self._read()
        if standing is None:
            if ref.found is None or not await self._adopt():
                return None
            standing = await self._look()
        while not standing.over or self._news:
            standing = await self._go_on(standing)
            if standing.over or self._news or standing.decided is Outcome.RETRY:
                continue
            self._tell(standing)
            await self._wait(standing.status is RefundStatus.PENDING)
            if self._grows_long(ref) and not self._news and not self._words:
                workflow.continue_as_new(ref)
            standing = await self._look()
        self._tell(standing)
        return standing.status

    def _grows_long(self, ref: RefundRef) -> bool:
        info = workflow.info()
        forced = ref.history_limit is not None and info.get_current_history_length() >= ref.history_limit
        return forced or info.is_continue_as_new_suggested()

    async def _go_on(self, standing: RefundStanding) -> RefundStanding:
        """One round: what a person has said, then what the provider says."""
        words, self._words = self._words, []
        if standing.task is not None and words:
            await self._note(standing.task, words)
            standing = await self._look()
        if standing.decided is Outcome.RETRY and standing.status is RefundStatus.FAILED:
            await workflow.execute_local_activity_method(
                Refunds.retry_refund, self._ref, summary="a person says retry", **DATABASE
            )
            standing = await self._look()
        news, self._news = self._news, False
        for part in standing.parts:
            if news or part.status is RefundStatus.PENDING:
                await self._settle(part)
        return await self._look()

    async def _settle(self, part: RefundPart) -> None:
        """Asks the provider, and writes down what it says. Its silence of days is a person's to look at."""
        kind = RefundTask.UNKNOWN
        try:
            found = await workflow.execute_activity_method(
                Refunds.give_refund,
                part,
                summary=f"refund {part.amount.amount} {part.amount.currency}",
                **COMPENSATION,
            )
            kind = RefundTask.UNEXPLAINED
            await workflow.execute_local_activity_method(
                Refunds.record_refund, args=[part, found], summary=f"refund {found.state}", **DATABASE
            )
            self._waits_for_buyer = found.state is RefundAt.REQUIRES_ACTION
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._task(kind, str(error.cause or error))

    async def _adopt(self) -> bool:
        """Made by hand at the provider: it is the order's once our own refunds leave it room."""
        while True:
            try:
                return await workflow.execute_activity_method(
                    Refunds.adopt_refund, self._ref, summary="found at the provider", **COMPENSATION
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                refusal = refusal_in(error)
                kind = RefundTask.UNEXPLAINED if refusal and refusal.certain else RefundTask.UNKNOWN
                await self._task(kind, refusal.detail if refusal else str(error.cause or error))
            self._news, self._words = False, []
            await self._wait(True)

    async def _wait(self, with_patience: bool) -> None:
        """For a word of the provider or of a person; in between it is looked at, ever more seldom."""
        patience = None
        if with_patience:
            patience = REFUND_LOOKS[min(self._looks, len(REFUND_LOOKS) - 1)]
            self._looks += 1
        try:
            await workflow.wait_condition(
                lambda: self._news or bool(self._words), timeout=patience, timeout_summary="next look"
            )
        except TimeoutError:
            return

    async def _note(self, task_id: str, words: list[TaskResolved]) -> None:
        """What was typed in the Temporal UI goes into the queue as well; a word from there is in it already."""
        word = next((word for word in words if word.task_id in ("", task_id)), None)
        if word is not None:
            await workflow.execute_local_activity_method(
                Tasks.close_task,
                CloseTask(task_id=task_id, outcome=word.outcome),
                summary=f"a person says {word.outcome}",
                **DATABASE,
            )

    async def _read(self) -> RefundStanding | None:
        return await workflow.execute_local_activity_method(
            Refunds.read_refund, self._ref, summary="read refund", **DATABASE
        )

    async def _look(self) -> RefundStanding:
        standing = await self._read()
        assert standing is not None
        return standing

    async def _task(self, kind: RefundTask, detail: str) -> None:
        await workflow.execute_local_activity_method(
            Tasks.open_task, OpenTask(kind=kind, subject=self._ref.refund_id, detail=detail), **DATABASE
        )

    def _tell(self, standing: RefundStanding) -> None:
        words = WORDS[standing.status]
        if standing.status is RefundStatus.PENDING and self._waits_for_buyer:
            words = "The buyer has to tell the provider where the money shall go"
        if standing.task is not None:
            words = "Failed: waiting for a person. Signal resolve_task, retry or done"
        workflow.set_current_details(f"{words} ({standing.amount.amount} {standing.amount.currency})")

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """The provider has something to say about it."""
        self._news = True

    @workflow.signal
    def resolve_task(self, resolution: TaskResolved) -> None:
        """`{"outcome": "retry"}` asks the provider once more, `{"outcome": "done"}` takes it as seen to."""
        self._words.append(resolution)
