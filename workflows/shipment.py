"""A parcel on its way: followed by what its carrier says, asked after while nothing is heard, missed when it is silent.

The facts stand in the database and move the order there; this process is who looks, asks and misses.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.delivery.tasks import Tasks
    from activities.orders.parcels import Parcels
    from models.delivery.tasks import OpenTask
    from models.errors import HoldfastError
    from models.orders.fulfilment import DeclareLost, FollowParcel, ParcelRef, ParcelStands
    from models.states import PARCEL_ENDS, ShipmentStatus
    from workflows.options import CARRIER, DATABASE

# What an operator reads in the Temporal UI.
WORDS = {
    ShipmentStatus.SHIPPED: "Handed over: nothing heard yet",
    ShipmentStatus.IN_TRANSIT: "On its way",
    ShipmentStatus.OUT_FOR_DELIVERY: "Out for delivery",
    ShipmentStatus.EXCEPTION: "The carrier is in trouble with it",
    ShipmentStatus.REFUSED: "Refused at the door: on its way back",
    ShipmentStatus.DELIVERED: "Delivered",
    ShipmentStatus.LOST: "Lost: somebody has to see to it",
    ShipmentStatus.RETURNED_TO_SENDER: "Back at the warehouse: to be received and paid back",
}


@workflow.defn(name="Shipment", failure_exception_types=[HoldfastError])
class Shipment:
    @workflow.init
    def __init__(self, parcel: FollowParcel) -> None:
        self._parcel = parcel
        self._ref = ParcelRef(order_id=parcel.order_id, shipment_id=parcel.shipment_id)
        self._mark = parcel.mark
        self._since = parcel.since or workflow.now()
        self._news = False
        self._shown = ""

    @workflow.run
    async def run(self, parcel: FollowParcel) -> ShipmentStatus:
        """Until it is delivered, lost, or back."""
        looks = 0
        while (status := (await self._look()).status) not in PARCEL_ENDS:
            if not await self._heard_within(min(parcel.poll_seconds, max(0.0, self._patience_left()))):
                await self._ask()
            looks += 1
            if looks >= parcel.looks:
                workflow.continue_as_new(parcel.model_copy(update={"mark": self._mark, "since": self._since}))
        return status

    @workflow.signal
    def look(self) -> None:
        """Something was heard of the parcel; the database says what."""
        self._news = True

    async def _look(self) -> ParcelStands:
        self._news = False
        return self._noted(
            await workflow.execute_local_activity_method(
                Parcels.look_at_parcel, self._ref, summary="look at the parcel", **DATABASE
            )
        )

    async def _heard_within(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._news, timeout=timedelta(seconds=seconds), timeout_summary="until the carrier is asked"
            )
        return self._news

    async def _ask(self) -> None:
        """A carrier that doesn't answer is asked again later: until then nothing is known to be lost."""
        try:
            stands = await workflow.execute_activity_method(
                Parcels.ask_carrier, self._ref, summary="ask the carrier", **CARRIER
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            await self._pause()
            return
        self._noted(stands)
        if stands.status in PARCEL_ENDS or self._patience_left() > 0:
            return
        if stands.asked:
            lost = DeclareLost(**self._ref.model_dump(), heard_at=stands.heard_at)
            await workflow.execute_local_activity_method(Parcels.declare_lost, lost, summary="lost", **DATABASE)
        else:
            await self._nobody_to_ask()

    async def _nobody_to_ask(self) -> None:
        """Only a carrier that was asked can have lost it: without one a person finds out, and scans go on."""
        task = OpenTask(kind="parcel-silent", subject=self._ref.shipment_id, detail=f"of order {self._ref.order_id}")
        await workflow.execute_local_activity_method(Tasks.open_task, task, **DATABASE)
        await self._pause()

    async def _pause(self) -> None:
        await self._heard_within(self._parcel.poll_seconds)

    def _noted(self, stands: ParcelStands) -> ParcelStands:
        """Silence is measured by our clock, from when we noticed the last word."""
        if stands.heard_at != self._mark:
            self._mark, self._since = stands.heard_at, workflow.now()
        words = WORDS.get(stands.status, str(stands.status))
        if words != self._shown:
            self._shown = words
            workflow.set_current_details(words)
        return stands

    def _patience_left(self) -> float:
        """Seconds until silence means that it is lost."""
        return self._parcel.silent_seconds - (workflow.now() - self._since).total_seconds()
