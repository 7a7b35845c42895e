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
    from models.orders.fulfilment import DeclareShipmentLost, ShipmentRef, ShipmentSnapshot, TrackShipment
    from models.states import PARCEL_ENDS, ShipmentStatus
    from workflows.options import CARRIER, DATABASE

# What an operator reads in the Temporal UI.
DETAILS = {
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
    def __init__(self, parcel: TrackShipment) -> None:
        self._parcel = parcel
        self._ref = ShipmentRef(order_id=parcel.order_id, shipment_id=parcel.shipment_id)
        self._last_event_at = parcel.last_event_at
        self._noticed_at = parcel.noticed_at or workflow.now()
        self._woken = False
        self._shown = ""

    @workflow.run
    async def run(self, parcel: TrackShipment) -> ShipmentStatus:
        """Until it is delivered, lost, or back."""
        polls = 0
        while (status := (await self._load()).status) not in PARCEL_ENDS:
            if not await self._wait_for_event(min(parcel.poll_seconds, max(0.0, self._silence_left()))):
                await self._poll_carrier()
            polls += 1
            if polls >= parcel.max_polls:
                workflow.continue_as_new(
                    parcel.model_copy(update={"last_event_at": self._last_event_at, "noticed_at": self._noticed_at})
                )
        return status

    @workflow.signal
    def changed(self) -> None:
        """Something was heard of the parcel; the database says what."""
        self._woken = True

    async def _load(self) -> ShipmentSnapshot:
        self._woken = False
        return self._record(
            await workflow.execute_local_activity_method(
                Parcels.load_shipment, self._ref, summary="look at the parcel", **DATABASE
            )
        )

    async def _wait_for_event(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._woken, timeout=timedelta(seconds=seconds), timeout_summary="until the carrier is asked"
            )
        return self._woken

    async def _poll_carrier(self) -> None:
        """A carrier that doesn't answer is asked again later: until then nothing is known to be lost."""
        try:
            snapshot = await workflow.execute_activity_method(
                Parcels.poll_carrier, self._ref, summary="ask the carrier", **CARRIER
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            await self._pause()
            return
        self._record(snapshot)
        if snapshot.status in PARCEL_ENDS or self._silence_left() > 0:
            return
        if snapshot.polled:
            lost = DeclareShipmentLost(**self._ref.model_dump(), last_event_at=snapshot.last_event_at)
            await workflow.execute_local_activity_method(
                Parcels.declare_shipment_lost, lost, summary="lost", **DATABASE
            )
        else:
            await self._open_silence_task()

    async def _open_silence_task(self) -> None:
        """Only a carrier that was asked can have lost it: without one a person finds out, and scans go on."""
        task = OpenTask(kind="parcel-silent", subject=self._ref.shipment_id, detail=f"of order {self._ref.order_id}")
        await workflow.execute_local_activity_method(Tasks.open_task, task, **DATABASE)
        await self._pause()

    async def _pause(self) -> None:
        await self._wait_for_event(self._parcel.poll_seconds)

    def _record(self, snapshot: ShipmentSnapshot) -> ShipmentSnapshot:
        """Silence is measured by our clock, from when we noticed the last word."""
        if snapshot.last_event_at != self._last_event_at:
            self._last_event_at, self._noticed_at = snapshot.last_event_at, workflow.now()
        words = DETAILS.get(snapshot.status, str(snapshot.status))
        if words != self._shown:
            self._shown = words
            workflow.set_current_details(words)
        return snapshot

    def _silence_left(self) -> float:
        """Seconds until silence means that it is lost."""
        return self._parcel.silence_seconds - (workflow.now() - self._noticed_at).total_seconds()
