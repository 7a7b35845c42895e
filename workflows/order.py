"""An order's life after the click: its confirmation mail, parcels and their money, delivery, the return window."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey, VersioningBehavior
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.fulfilment import Fulfilment
    from activities.notifications import Notifications
    from activities.payments import Payments
    from activities.tasks import Tasks
    from models.checkout import OpenTask
    from models.errors import HoldfastError
    from models.fulfilment import CapturePayment, FulfilOrder, OrderRef, ParcelPlanned, ScanParcel, ShipParcel
    from models.search_attributes import ORDER_STATUS
    from models.states import OrderStatus
    from workflows.failures import refusal_in
    from workflows.options import CAPTURE, DATABASE, MAIL, MAIL_LATER

STATUS = SearchAttributeKey.for_keyword(ORDER_STATUS)


@workflow.defn(
    name="Order", failure_exception_types=[HoldfastError], versioning_behavior=VersioningBehavior.AUTO_UPGRADE
)
class Order:
    @workflow.init
    def __init__(self, order: FulfilOrder) -> None:
        self._ref = OrderRef(order_id=order.order_id)
        self._delivered = False
        self._parcels = asyncio.Lock()  # one parcel at a time decides what is left to ship

    @workflow.run
    async def run(self, order: FulfilOrder) -> OrderStatus:
        """Tell the buyer; wait for the warehouse and the carrier; close the return window."""
        workflow.set_current_details("Confirmed: waiting for the warehouse")
        await self._tell_buyer()
        await workflow.wait_condition(lambda: self._delivered)
        self._now(OrderStatus.DELIVERED, "Delivered")
        window = timedelta(seconds=order.return_window_seconds)
        workflow.set_current_details(f"Delivered: can be returned until {workflow.now() + window:%Y-%m-%d}")
        await workflow.sleep(window, summary="return window")
        await workflow.wait_condition(workflow.all_handlers_finished)
        await workflow.execute_local_activity_method(
            Fulfilment.complete_order, self._ref, summary="complete order", **DATABASE
        )
        return self._now(OrderStatus.COMPLETED, "Completed")

    @workflow.update
    async def ship(self, command: ShipParcel) -> None:
        """The warehouse hands over a parcel: planned, paid, then out. Refused whole or done whole."""
        async with self._parcels:
            planned = await workflow.execute_local_activity_method(
                Fulfilment.plan_shipment, command, summary="plan shipment", **DATABASE
            )
            if planned.settled:
                return
            await self._capture(command, planned)
            await workflow.execute_local_activity_method(
                Fulfilment.confirm_shipment, args=[command, planned], summary="confirm shipment", **DATABASE
            )
            if planned.final:
                self._now(OrderStatus.SHIPPED, "Shipped: waiting for delivery")
            else:
                self._now(OrderStatus.PARTIALLY_SHIPPED, "Partially shipped: waiting for the warehouse")

    @workflow.update
    async def scan(self, command: ScanParcel) -> None:
        """The carrier's word on a parcel."""
        async with self._parcels:
            await workflow.execute_local_activity_method(
                Fulfilment.record_scan, command, summary=f"parcel {command.status}", **DATABASE
            )

    @workflow.signal
    def delivered(self) -> None:
        """Every parcel is with the buyer."""
        self._delivered = True

    async def _tell_buyer(self) -> None:
        """Beside our own task when all is well; else by an activity that knows how to wait for the provider."""
        try:
            await workflow.execute_local_activity_method(
                Notifications.send_order_confirmation, self._ref, summary="confirmation mail", **MAIL
            )
            return
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
        try:
            await workflow.execute_activity_method(
                Notifications.send_order_confirmation, self._ref, summary="confirmation mail", **MAIL_LATER
            )
        except FailureError as error:
            await self._task("confirmation-mail", str(error.cause or error))

    async def _capture(self, command: ShipParcel, planned: ParcelPlanned) -> None:
        """Takes the parcel's share. What the provider refuses for good stays in the house, for a person to see."""
        if planned.reference is None or planned.provider is None:
            return
        try:
            await workflow.execute_activity_method(
                Payments.capture_payment,
                CapturePayment(
                    shipment_id=command.shipment_id,
                    provider=planned.provider,
                    reference=planned.reference,
                    amount=planned.capture,
                    before=planned.before,
                    final=planned.final,
                ),
                summary=f"capture {planned.capture.amount} {planned.capture.currency}",
                **CAPTURE,
            )
        except FailureError as error:
            if (refusal := refusal_in(error)) is None or not refusal.certain:
                # Unknown for a day: the plan stays, so that nobody ships the same goods on another payment.
                await self._task("capture-unknown", str(error.cause or error))
                raise
            await workflow.execute_local_activity_method(
                Fulfilment.drop_shipment, command, summary="capture refused", **DATABASE
            )
            await self._task("capture-refused", refusal.detail)
            raise

    async def _task(self, kind: str, detail: str) -> None:
        await workflow.execute_local_activity_method(
            Tasks.open_task, OpenTask(kind=kind, subject=self._ref.order_id, detail=detail), **DATABASE
        )

    def _now(self, status: OrderStatus, words: str) -> OrderStatus:
        workflow.set_current_details(words)
        workflow.upsert_search_attributes([STATUS.value_set(status)])
        return status
