"""A return (RMA), from its announcement to received and refunded, refused, or expired.

Tests: tests/workflows/test_return.py, tests/api/orders/test_returns.py; histories: tests/histories/Return/.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.orders.returns import Returns
    from models.errors import HoldfastError
    from models.orders.returns import ReceiveReturn, RefuseReturn, ReturnRef, ReturnSnapshot
    from models.states import ReturnStatus
    from workflows.options import DATABASE
    from workflows.updates import AcceptsUpdates, recorded

Command = TypeVar("Command", ReceiveReturn, RefuseReturn)

WHOLE_RETURN = ReceiveReturn()
NO_REASON = RefuseReturn()

# What an operator reads in the Temporal UI.
DETAILS = {
    ReturnStatus.RECEIVED: "Received: waiting for the refund (see refund/…)",
    ReturnStatus.REFUNDED: "Received and refunded",
    ReturnStatus.REFUSED: "Refused",
    ReturnStatus.EXPIRED: "Expired: nothing was received",
}


@workflow.defn(name="Return", failure_exception_types=[HoldfastError])
class Return(AcceptsUpdates):
    @workflow.init
    def __init__(self, ref: ReturnRef) -> None:
        self._ref = ref
        self._woken = False  # the return has changed: load it

    @workflow.run
    async def run(self, ref: ReturnRef) -> ReturnStatus:
        """Waits for the parcel until the return expires, then for the refund. The database holds the status."""
        snapshot = await self._load()
        while not snapshot.finished:
            self._show_details(snapshot)
            if await self._wait_for_wake_up(snapshot):
                snapshot = await self._load()
            else:
                snapshot = await workflow.execute_local_activity_method(
                    Returns.expire_return, self._ref, summary="expire the return", **DATABASE
                )
        await self._updates_recorded()
        self._show_details(snapshot)
        return snapshot.status

    async def _load(self) -> ReturnSnapshot:
        self._woken = False
        return await workflow.execute_local_activity_method(
            Returns.load_return, self._ref, summary="load the return", **DATABASE
        )

    async def _wait_for_wake_up(self, snapshot: ReturnSnapshot) -> bool:
        """False when the time to receive the parcel is up. A refund has no timeout."""
        waits = snapshot.status is ReturnStatus.REQUESTED
        timeout = timedelta(seconds=max(0.0, snapshot.seconds_left)) if waits else None
        try:
            await workflow.wait_condition(lambda: self._woken, timeout=timeout, timeout_summary="time to arrive")
        except TimeoutError:
            return False
        return True

    def _show_details(self, snapshot: ReturnSnapshot) -> None:
        until = workflow.now() + timedelta(seconds=max(0.0, snapshot.seconds_left))
        workflow.set_current_details(DETAILS.get(snapshot.status, f"Announced: expected until {until:%Y-%m-%d}"))

    # Signals and updates

    @workflow.signal
    def changed(self) -> None:
        """Wake-up: the return has changed in the database."""
        self._woken = True

    @workflow.update
    @recorded
    async def receive(self, command: ReceiveReturn = WHOLE_RETURN) -> ReturnStatus:
        """Receives the goods: restocks and refunds. `{}` means all units, in sellable condition."""
        return await self._run_command(Returns.receive_return, command, "receive")

    @workflow.update
    @recorded
    async def refuse(self, command: RefuseReturn = NO_REASON) -> ReturnStatus:
        """Refuses the return."""
        return await self._run_command(Returns.refuse_return, command, "refuse")

    async def _run_command(
        self, step: Callable[[Returns, Command], ReturnSnapshot], command: Command, summary: str
    ) -> ReturnStatus:
        """Runs the step for this return. Without an initiator's cause, the update id becomes the cause."""
        update = workflow.current_update_info()
        initiator = command.initiator
        if not initiator.cause and update is not None:
            initiator = initiator.model_copy(update={"cause": f"{self._ref.return_id}:{update.id}"})
        command = command.model_copy(update={"return_id": self._ref.return_id, "initiator": initiator})
        snapshot = await workflow.execute_local_activity_method(step, command, summary=summary, **DATABASE)
        self._woken = True
        return snapshot.status
