"""A return (RMA) from its announcement to its end: received and paid back, refused, or never sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.orders.returns import Returns
    from models.errors import HoldfastError
    from models.orders.returns import ReceiveReturn, RefuseReturn, ReturnRef, ReturnStands
    from models.states import ReturnStatus
    from workflows.options import DATABASE
    from workflows.updates import AcceptsUpdates, recorded

Command = TypeVar("Command", ReceiveReturn, RefuseReturn)

ALL_OF_IT = ReceiveReturn()
NOBODY = RefuseReturn()

# What an operator reads in the Temporal UI.
WORDS = {
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
        self._news = False  # something has been written about it: look

    @workflow.run
    async def run(self, ref: ReturnRef) -> ReturnStatus:
        """Wait for the parcel until its time is up, then for the refund. The database says what has happened."""
        stands = await self._look()
        while not stands.over:
            self._tell(stands)
            if await self._news_within(stands):
                stands = await self._look()
            else:
                stands = await workflow.execute_local_activity_method(
                    Returns.expire_return, self._ref, summary="nothing has come", **DATABASE
                )
        await self._updates_recorded()
        self._tell(stands)
        return stands.status

    async def _look(self) -> ReturnStands:
        self._news = False
        return await workflow.execute_local_activity_method(
            Returns.look_at_return, self._ref, summary="look at the return", **DATABASE
        )

    async def _news_within(self, stands: ReturnStands) -> bool:
        """False once the parcel's time is up; the refund has all the time that it needs."""
        waits = stands.status is ReturnStatus.REQUESTED
        patience = timedelta(seconds=max(0.0, stands.seconds_left)) if waits else None
        try:
            await workflow.wait_condition(lambda: self._news, timeout=patience, timeout_summary="time to arrive")
        except TimeoutError:
            return False
        return True

    def _tell(self, stands: ReturnStands) -> None:
        until = workflow.now() + timedelta(seconds=max(0.0, stands.seconds_left))
        workflow.set_current_details(WORDS.get(stands.status, f"Announced: expected until {until:%Y-%m-%d}"))

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """Something has happened to the return; the database says what."""
        self._news = True

    @workflow.update
    @recorded
    async def receive(self, command: ReceiveReturn = ALL_OF_IT) -> ReturnStatus:
        """The parcel is here: stock back, money back. `{}` is all of it, fit to be sold again."""
        return await self._do(Returns.receive_return, command, "receive")

    @workflow.update
    @recorded
    async def refuse(self, command: RefuseReturn = NOBODY) -> ReturnStatus:
        """It is not taken back."""
        return await self._do(Returns.refuse_return, command, "refuse")

    async def _do(
        self, step: Callable[[Returns, Command], ReturnStands], command: Command, summary: str
    ) -> ReturnStatus:
        """In this return's name; who typed it is known to Temporal."""
        asked = workflow.current_update_info()
        by = command.by
        if not by.cause and asked is not None:
            by = by.model_copy(update={"cause": f"{self._ref.return_id}:{asked.id}"})
        command = command.model_copy(update={"return_id": self._ref.return_id, "by": by})
        stands = await workflow.execute_local_activity_method(step, command, summary=summary, **DATABASE)
        self._news = True
        return stands.status
