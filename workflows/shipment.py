"""Tracking of one shipment: follows carrier events, polls the carrier during silence, declares the parcel lost.

The database holds the tracking events, and they move the order there.
Tests: tests/workflows/test_shipment.py, tests/api/orders/test_parcels.py; histories: tests/histories/Shipment/.
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
    ShipmentStatus.SHIPPED: "Shipped: no tracking event yet",
    ShipmentStatus.IN_TRANSIT: "On its way",
    ShipmentStatus.OUT_FOR_DELIVERY: "Out for delivery",
    ShipmentStatus.EXCEPTION: "The carrier reports a problem",
    ShipmentStatus.REFUSED: "Refused by the recipient: on its way back",
    ShipmentStatus.DELIVERED: "Delivered",
    ShipmentStatus.LOST: "Lost: see the manual task",
    ShipmentStatus.RETURNED_TO_SENDER: "Back at the warehouse: to be received and refunded",
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
        """Runs until the shipment is delivered, lost, or returned to the sender."""
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
        """Wake-up: a tracking event is stored."""
        self._woken = True

    async def _load(self) -> ShipmentSnapshot:
        self._woken = False
        return self._record(
            await workflow.execute_local_activity_method(
                Parcels.load_shipment, self._ref, summary="load the shipment", **DATABASE
            )
        )

    async def _wait_for_event(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._woken, timeout=timedelta(seconds=seconds), timeout_summary="next poll of the carrier"
            )
        return self._woken

    async def _poll_carrier(self) -> None:
        """Polls the carrier; after the silence declares the parcel lost. A carrier that doesn't answer proves nothing:
        it is polled again later."""
        try:
            snapshot = await workflow.execute_activity_method(
                Parcels.poll_carrier, self._ref, summary="poll the carrier", **CARRIER
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
                Parcels.declare_shipment_lost, lost, summary="declare lost", **DATABASE
            )
        else:
            await self._open_silence_task()

    async def _open_silence_task(self) -> None:
        """Opens a manual task where no carrier can be polled; tracking events are still received."""
        task = OpenTask(kind="parcel-silent", subject=self._ref.shipment_id, detail=f"of order {self._ref.order_id}")
        await workflow.execute_local_activity_method(Tasks.open_task, task, **DATABASE)
        await self._pause()

    async def _pause(self) -> None:
        await self._wait_for_event(self._parcel.poll_seconds)

    def _record(self, snapshot: ShipmentSnapshot) -> ShipmentSnapshot:
        """Silence is measured by the workflow's clock, from when it noticed the last tracking event."""
        if snapshot.last_event_at != self._last_event_at:
            self._last_event_at, self._noticed_at = snapshot.last_event_at, workflow.now()
        details = DETAILS.get(snapshot.status, str(snapshot.status))
        if details != self._shown:
            self._shown = details
            workflow.set_current_details(details)
        return snapshot

    def _silence_left(self) -> float:
        """Seconds until the silence means that the parcel is lost."""
        return self._parcel.silence_seconds - (workflow.now() - self._noticed_at).total_seconds()
