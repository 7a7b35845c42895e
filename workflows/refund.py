"""A refund: requested from the provider once, polled while it is pending, resolved manually if it fails.

`run` begins by loading the refund, so its execution can be terminated and restarted at any moment.
Tests: tests/workflows/test_refund.py, tests/api/payments/; histories: tests/histories/Refund/.
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
    RefundStatus.PENDING: "Pending at the provider",
    RefundStatus.SUCCEEDED: "Succeeded",
    RefundStatus.FAILED: "Failed, and resolved manually",
}


@workflow.defn(name="Refund", failure_exception_types=[HoldfastError])
class Refund:
    @workflow.init
    def __init__(self, ref: RefundRef) -> None:
        self._ref = ref
        self._woken = False  # a provider event is stored; it may concern a refund that has ended
        self._resolutions: list[TaskResolved] = []
        self._polls = 0
        self._waits_for_buyer = False

    @workflow.run
    async def run(self, ref: RefundRef) -> RefundStatus | None:
        """Runs until each part is final at the provider and in the ledger, or resolved manually. None: no refund."""
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
        """One round: the outcomes of manual tasks, then the provider's status."""
        resolutions, self._resolutions = self._resolutions, []
        if snapshot.task is not None and resolutions:
            await self._record_resolution(snapshot.task, resolutions)
            snapshot = await self._reload()
        if snapshot.resolution is TaskOutcome.RETRY and snapshot.status is RefundStatus.FAILED:
            await workflow.execute_local_activity_method(
                Refunds.retry_refund, self._ref, summary="retry the refund", **DATABASE
            )
            snapshot = await self._reload()
        woken, self._woken = self._woken, False
        for part in snapshot.parts:
            if woken or part.status is RefundStatus.PENDING:
                await self._sync_part(part)
        return await self._reload()

    async def _sync_part(self, part: RefundPart) -> None:
        """Refunds the part at the provider and records its status. Opens a manual task when the retries run out."""
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
        """Adopts a refund that was made at the provider, once our own refunds leave room for it. False: not adopted."""
        while True:
            try:
                return await workflow.execute_activity_method(
                    Refunds.adopt_refund, self._ref, summary="adopt the provider's refund", **COMPENSATION
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
        """Waits for a wake-up or an outcome; with `has_timeout` until the next poll, at growing intervals."""
        timeout = None
        if has_timeout:
            timeout = REFUND_POLL_INTERVALS[min(self._polls, len(REFUND_POLL_INTERVALS) - 1)]
            self._polls += 1
        try:
            await workflow.wait_condition(
                lambda: self._woken or bool(self._resolutions), timeout=timeout, timeout_summary="next poll"
            )
        except TimeoutError:
            return

    async def _record_resolution(self, task_id: str, resolutions: list[TaskResolved]) -> None:
        """Closes the task in the database too: the API has done so already, a signal from the Temporal UI hasn't."""
        resolution = next((one for one in resolutions if one.task_id in ("", task_id)), None)
        if resolution is not None:
            await workflow.execute_local_activity_method(
                Tasks.close_task,
                CloseTask(task_id=task_id, outcome=resolution.outcome),
                summary=f"resolved manually: {resolution.outcome}",
                **DATABASE,
            )

    async def _load(self) -> RefundSnapshot | None:
        return await workflow.execute_local_activity_method(
            Refunds.load_refund, self._ref, summary="load the refund", **DATABASE
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
        details = DETAILS[snapshot.status]
        if snapshot.status is RefundStatus.PENDING and self._waits_for_buyer:
            details = "Waiting for the buyer to give the provider an account for the refund"
        if snapshot.task is not None:
            details = "Failed: waiting for a person. Signal resolve_task, retry or done"
        workflow.set_current_details(f"{details} ({snapshot.amount.amount} {snapshot.amount.currency})")

    # Signals

    @workflow.signal
    def changed(self) -> None:
        """Wake-up: a provider event about this refund is stored."""
        self._woken = True

    @workflow.signal
    def resolve_task(self, resolution: TaskResolved) -> None:
        """`{"outcome": "retry"}` refunds once more; `{"outcome": "done"}` ends the refund as resolved manually."""
        self._resolutions.append(resolution)
