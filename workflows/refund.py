"""A refund until the buyer has the money: asked of the provider once, followed while it waits, a person's if it fails.

`run` begins by reading where things stand, so it can be ended and begun again at any moment.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.delivery.tasks import Tasks
    from activities.payments.refunds import Refunds
    from models.delivery.tasks import CloseTask, OpenTask, TaskOutcome, TaskResolved
    from models.errors import HoldfastError
    from models.payments.provider import ProviderRefundStatus
    from models.payments.refunds import RefundPart, RefundRef, RefundSnapshot, RefundTask
    from models.states import RefundStatus
    from workflows.failures import refusal_in
    from workflows.options import COMPENSATION, DATABASE, REFUND_POLL_INTERVALS

DETAILS = {
    RefundStatus.PENDING: "On its way",
    RefundStatus.SUCCEEDED: "The money is with the buyer's bank",
    RefundStatus.FAILED: "Failed, and seen to by a person",
}


@workflow.defn(name="Refund", failure_exception_types=[HoldfastError])
class Refund:
    @workflow.init
    def __init__(self, ref: RefundRef) -> None:
        self._ref = ref
        self._woken = False  # the provider has something to say, also of what has ended
        self._resolutions: list[TaskResolved] = []
        self._polls = 0
        self._waits_for_buyer = False

    @workflow.run
    async def run(self, ref: RefundRef) -> RefundStatus | None:
        """Until each part has its end at the provider and the books, or a person has seen to it. None: no refund."""
        snapshot = await self._load()
        if snapshot is None:
            if ref.found is None or not await self._adopt():
                return None
            snapshot = await self._reload()
        while not snapshot.finished or self._woken:
            snapshot = await self._run_round(snapshot)
            if snapshot.finished or self._woken or snapshot.resolution is TaskOutcome.RETRY:
                continue
            self._show_details(snapshot)
            await self._wait(snapshot.status is RefundStatus.PENDING)
            if self._history_is_long(ref) and not self._woken and not self._resolutions:
                workflow.continue_as_new(ref)
            snapshot = await self._reload()
        self._show_details(snapshot)
        return snapshot.status

    def _history_is_long(self, ref: RefundRef) -> bool:
        info = workflow.info()
        forced = ref.history_limit is not None and info.get_current_history_length() >= ref.history_limit
        return forced or info.is_continue_as_new_suggested()

    async def _run_round(self, snapshot: RefundSnapshot) -> RefundSnapshot:
        """One round: what a person has said, then what the provider says."""
        words, self._resolutions = self._resolutions, []
        if snapshot.task is not None and words:
            await self._record_resolution(snapshot.task, words)
            snapshot = await self._reload()
        if snapshot.resolution is TaskOutcome.RETRY and snapshot.status is RefundStatus.FAILED:
            await workflow.execute_local_activity_method(
                Refunds.retry_refund, self._ref, summary="a person says retry", **DATABASE
            )
            snapshot = await self._reload()
        woken, self._woken = self._woken, False
        for part in snapshot.parts:
            if woken or part.status is RefundStatus.PENDING:
                await self._sync_part(part)
        return await self._reload()

    async def _sync_part(self, part: RefundPart) -> None:
        """Asks the provider, and writes down what it says. Its silence of days is a person's to look at."""
        kind = RefundTask.UNKNOWN
        try:
            found = await workflow.execute_activity_method(
                Refunds.refund_payment,
                part,
                summary=f"refund {part.amount.amount} {part.amount.currency}",
                **COMPENSATION,
            )
            kind = RefundTask.UNEXPLAINED
            await workflow.execute_local_activity_method(
                Refunds.record_refund, args=[part, found], summary=f"refund {found.state}", **DATABASE
            )
            self._waits_for_buyer = found.state is ProviderRefundStatus.REQUIRES_ACTION
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._open_task(kind, str(error.cause or error))

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
                await self._open_task(kind, refusal.detail if refusal else str(error.cause or error))
            self._woken, self._resolutions = False, []
            await self._wait(True)

    async def _wait(self, has_timeout: bool) -> None:
        """For a word of the provider or of a person; in between it is looked at, ever more seldom."""
        timeout = None
        if has_timeout:
            timeout = REFUND_POLL_INTERVALS[min(self._polls, len(REFUND_POLL_INTERVALS) - 1)]
            self._polls += 1
        try:
            await workflow.wait_condition(
                lambda: self._woken or bool(self._resolutions), timeout=timeout, timeout_summary="next look"
            )
        except TimeoutError:
            return

    async def _record_resolution(self, task_id: str, words: list[TaskResolved]) -> None:
        """What was typed in the Temporal UI goes into the queue as well; a word from there is in it already."""
        word = next((word for word in words if word.task_id in ("", task_id)), None)
        if word is not None:
            await workflow.execute_local_activity_method(
                Tasks.close_task,
                CloseTask(task_id=task_id, outcome=word.outcome),
                summary=f"a person says {word.outcome}",
                **DATABASE,
            )

    async def _load(self) -> RefundSnapshot | None:
        return await workflow.execute_local_activity_method(
            Refunds.load_refund, self._ref, summary="read refund", **DATABASE
        )

    async def _reload(self) -> RefundSnapshot:
        snapshot = await self._load()
        assert snapshot is not None
        return snapshot

    async def _open_task(self, kind: RefundTask, detail: str) -> None:
        await workflow.execute_local_activity_method(
            Tasks.open_task, OpenTask(kind=kind, subject=self._ref.refund_id, detail=detail), **DATABASE
        )

    def _show_details(self, snapshot: RefundSnapshot) -> None:
        words = DETAILS[snapshot.status]
        if snapshot.status is RefundStatus.PENDING and self._waits_for_buyer:
            words = "The buyer has to tell the provider where the money shall go"
        if snapshot.task is not None:
            words = "Failed: waiting for a person. Signal resolve_task, retry or done"
        workflow.set_current_details(f"{words} ({snapshot.amount.amount} {snapshot.amount.currency})")

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """The provider has something to say about it."""
        self._woken = True

    @workflow.signal
    def resolve_task(self, resolution: TaskResolved) -> None:
        """`{"outcome": "retry"}` asks the provider once more, `{"outcome": "done"}` takes it as seen to."""
        self._resolutions.append(resolution)
