"""A return (RMA) from its announcement to its end: received and paid back, refused, or never sent."""

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
    ReturnStatus.RECEIVED: "Received: the money is on its way (see refund/…)",
    ReturnStatus.REFUNDED: "Received and refunded",
    ReturnStatus.REFUSED: "Refused",
    ReturnStatus.EXPIRED: "Expired: nothing has come",
}


@workflow.defn(name="Return", failure_exception_types=[HoldfastError])
class Return(AcceptsUpdates):
    @workflow.init
    def __init__(self, ref: ReturnRef) -> None:
        self._ref = ref
        self._woken = False  # something has been written about it: look

    @workflow.run
    async def run(self, ref: ReturnRef) -> ReturnStatus:
        """Wait for the parcel until its time is up, then for the refund. The database says what has happened."""
        snapshot = await self._load()
        while not snapshot.finished:
            self._show_details(snapshot)
            if await self._wait_for_wake_up(snapshot):
                snapshot = await self._load()
            else:
                snapshot = await workflow.execute_local_activity_method(
                    Returns.expire_return, self._ref, summary="nothing has come", **DATABASE
                )
        await self._updates_recorded()
        self._show_details(snapshot)
        return snapshot.status

    async def _load(self) -> ReturnSnapshot:
        self._woken = False
        return await workflow.execute_local_activity_method(
            Returns.load_return, self._ref, summary="look at the return", **DATABASE
        )

    async def _wait_for_wake_up(self, snapshot: ReturnSnapshot) -> bool:
        """False once the parcel's time is up; the refund has all the time that it needs."""
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

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """Something has happened to the return; the database says what."""
        self._woken = True

    @workflow.update
    @recorded
    async def receive(self, command: ReceiveReturn = WHOLE_RETURN) -> ReturnStatus:
        """The parcel is here: stock back, money back. `{}` is all of it, fit to be sold again."""
        return await self._run_command(Returns.receive_return, command, "receive")

    @workflow.update
    @recorded
    async def refuse(self, command: RefuseReturn = NO_REASON) -> ReturnStatus:
        """It is not taken back."""
        return await self._run_command(Returns.refuse_return, command, "refuse")

    async def _run_command(
        self, step: Callable[[Returns, Command], ReturnSnapshot], command: Command, summary: str
    ) -> ReturnStatus:
        """In this return's name; who typed it is known to Temporal."""
        update = workflow.current_update_info()
        initiator = command.initiator
        if not initiator.cause and update is not None:
            initiator = initiator.model_copy(update={"cause": f"{self._ref.return_id}:{update.id}"})
        command = command.model_copy(update={"return_id": self._ref.return_id, "initiator": initiator})
        snapshot = await workflow.execute_local_activity_method(step, command, summary=summary, **DATABASE)
        self._woken = True
        return snapshot.status
