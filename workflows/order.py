"""An order after its checkout: confirmation mail, shipments and their captures, delivery, the return window.

Tests: tests/workflows/test_order.py, tests/api/orders/; histories: tests/histories/Order/.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.delivery.tasks import Tasks
    from activities.orders.commands import OrderCommands
    from activities.orders.fulfilment import Fulfilment
    from activities.orders.notifications import Notifications
    from activities.orders.parcels import Parcels
    from activities.payments.open_authorisations import OrderPayments
    from activities.payments.retry import PaymentRetries
    from models.delivery.tasks import OpenTask
    from models.errors import AuthorisationGone, CaptureDiffers, CaptureRefused, HoldfastError, Refusal
    from models.orders.commands import Initiator, OrderRequest, OrderSnapshot, ReleaseAuthorisation
    from models.orders.fulfilment import (
        BuyLabel,
        CapturePayment,
        CreateShipment,
        FulfilOrder,
        OrderRef,
        RecordTrackingEvent,
        ShipmentPlanned,
        ShipmentRef,
    )
    from models.payments.retry import FailPayment
    from models.states import OrderStatus
    from workflows.compensation import CompensatingWorkflow, Compensations
    from workflows.failures import refusal_in
    from workflows.options import CAPTURE, COMPENSATION, DATABASE, LABEL, MAIL, MAIL_LATER
    from workflows.search_attributes import ORDER_STATUS
    from workflows.updates import AcceptsUpdates, recorded

STATUS = SearchAttributeKey.for_keyword(ORDER_STATUS)
ENDS = (OrderStatus.CANCELLED, OrderStatus.RETURNED)
NO_INITIATOR = Initiator()
DECLINED_BY_ISSUER = (CaptureRefused.__name__, AuthorisationGone.__name__)
RECHECK_INTERVAL = timedelta(days=1)

# What an operator reads in the Temporal UI.
DETAILS = {
    OrderStatus.CONFIRMED: "Confirmed: waiting for the warehouse",
    OrderStatus.PROCESSING: "The warehouse is packing it",
    OrderStatus.PARTIALLY_SHIPPED: "Partially shipped: waiting for the warehouse",
    OrderStatus.SHIPPED: "Shipped: waiting for delivery",
    OrderStatus.DELIVERED: "Delivered",
    OrderStatus.COMPLETED: "Completed",
    OrderStatus.PAYMENT_RETRYING: "The payment failed and is being retried (see payment-retry/…)",
    OrderStatus.ON_HOLD: "On hold: nothing ships until it is released",
    OrderStatus.CANCELLED: "Cancelled",
    OrderStatus.RETURN_REQUESTED: "Return requested (see return/…)",
    OrderStatus.RETURNED: "Returned completely",
}


@workflow.defn(name="Order", failure_exception_types=[HoldfastError])
class Order(CompensatingWorkflow, AcceptsUpdates):
    @workflow.init
    def __init__(self, order: FulfilOrder) -> None:
        self._order = order
        self._ref = OrderRef(order_id=order.order_id)
        self._undo = Compensations(order.order_id)
        self._woken = order.resumed  # the order has changed: load it
        self._shown = OrderStatus.CONFIRMED
        self._shipping = asyncio.Lock()  # one shipment at a time: each plan counts the units that are left
        self._confirming: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None  # of a shipment whose command was lost

    @workflow.run
    async def run(self, order: FulfilOrder) -> OrderStatus:
        """Send the confirmation; wait until the order is delivered or cancelled; close the return window."""
        workflow.set_current_details(DETAILS[OrderStatus.CONFIRMED])
        if not order.notified:
            self._confirming = asyncio.create_task(self._send_confirmation())
        snapshot = await self._wait_for_delivery()
        status = snapshot.status
        if status not in ENDS:
            status = await self._close_return_window(snapshot, timedelta(seconds=order.return_window_seconds))
        for task in self._background_tasks:
            await task
        await self._updates_recorded()
        return self._show_status(status)

    async def _wait_for_delivery(self) -> OrderSnapshot:
        while True:
            await self._wait_for_wake_up(None, "wake-up")
            snapshot = await self._load()
            if snapshot.status in ENDS or snapshot.fulfilment is OrderStatus.DELIVERED:
                return snapshot

    async def _load(self) -> OrderSnapshot:
        """Loads the order, releases an unused authorisation, and resumes an unfinished shipment."""
        self._woken = False
        snapshot = await workflow.execute_local_activity_method(
            OrderCommands.load_order, self._ref, summary="load the order", **DATABASE
        )
        if snapshot.unused_authorisation:
            await self._release_authorisation()
        if snapshot.unfinished and (self._finishing is None or self._finishing.done()):
            self._finishing = asyncio.create_task(self._finish_shipment(snapshot.unfinished))
        self._show_status(snapshot.status)
        return snapshot

    async def _release_authorisation(self) -> None:
        workflow.set_current_details("Releasing the unused authorisation")
        release = ReleaseAuthorisation(order_id=self._ref.order_id)
        self._undo.push(
            "release-authorisation",
            lambda: workflow.execute_activity_method(
                OrderPayments.release_authorisation, release, summary="release the authorisation", **COMPENSATION
            ),
        )
        await self._undo.unwind()

    async def _close_return_window(self, snapshot: OrderSnapshot, window: timedelta) -> OrderStatus:
        """The window starts at the delivery. An open return keeps the order open until it has ended."""
        until = workflow.now() + window - timedelta(seconds=snapshot.since_delivery)
        workflow.set_current_details(f"Delivered: can be returned until {until:%Y-%m-%d}")
        while (left := until - workflow.now()) > timedelta():
            await self._wait_for_wake_up(left, "return window")
            if self._woken and (status := (await self._load()).status) in ENDS:
                return status
        while True:
            await workflow.wait_condition(workflow.all_handlers_finished)
            self._woken = False
            status = await workflow.execute_local_activity_method(
                Fulfilment.complete_order, self._ref, summary="complete order", **DATABASE
            )
            if self._show_status(status) in (OrderStatus.COMPLETED, *ENDS):
                return status
            await self._wait_for_wake_up(RECHECK_INTERVAL, "next check of open returns")

    async def _wait_for_wake_up(self, timeout: timedelta | None, why: str) -> None:
        """Waits for a wake-up or the timeout. Continues as new when the history is long: the input is all the state."""
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._woken or self._history_is_long(), timeout=timeout, timeout_summary=why
            )
        if self._history_is_long():
            await self._updates_recorded()
        if not self._woken and self._history_is_long():
            workflow.continue_as_new(self._order.model_copy(update={"resumed": True, "notified": True}))

    def _history_is_long(self) -> bool:
        """False while a handler or a background task runs: continue-as-new would cut it off."""
        info = workflow.info()
        limit = self._order.history_limit
        long = info.is_continue_as_new_suggested() or (limit and info.get_current_history_length() >= limit)
        return bool(long and all(task.done() for task in self._background_tasks) and workflow.all_handlers_finished())

    @property
    def _background_tasks(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._confirming, self._finishing) if task is not None]

    # Signals and updates

    @workflow.signal
    def changed(self) -> None:
        """Wake-up: the order has changed in the database."""
        self._woken = True

    @workflow.update
    @recorded
    async def cancel(self, initiator: Initiator = NO_INITIATOR) -> OrderStatus:
        """Cancels an order of which nothing has shipped: releases stock at once, then the authorisation."""
        return await self._run_command(OrderCommands.cancel_order, initiator, "cancel")

    @workflow.update
    @recorded
    async def cancel_remainder(self, initiator: Initiator = NO_INITIATOR) -> OrderStatus:
        """Cancels the units that have not shipped; the shipped ones are delivered."""
        return await self._run_command(OrderCommands.cancel_remainder, initiator, "cancel the remainder")

    @workflow.update
    @recorded
    async def hold(self, initiator: Initiator = NO_INITIATOR) -> OrderStatus:
        """Puts the order on hold: nothing ships until it is released."""
        return await self._run_command(OrderCommands.hold_order, initiator, "hold")

    @workflow.update
    @recorded
    async def release(self, initiator: Initiator = NO_INITIATOR) -> OrderStatus:
        """Releases the hold."""
        return await self._run_command(OrderCommands.release_order, initiator, "release")

    async def _run_command(
        self, command: Callable[..., OrderStatus], initiator: Initiator, summary: str
    ) -> OrderStatus:
        update = workflow.current_update_info()
        initiator = (
            initiator if initiator.cause or update is None else initiator.model_copy(update={"cause": update.id})
        )
        request = OrderRequest(order_id=self._ref.order_id, initiator=initiator)
        status: OrderStatus = await workflow.execute_local_activity(command, request, summary=summary, **DATABASE)
        self._woken = True
        return self._show_status(status)

    @workflow.update
    @recorded
    async def ship(self, command: CreateShipment) -> None:
        """Ships one parcel: plan, label, capture, confirm. Either all of it is done or all of it is refused."""
        await self._ship(command)

    async def _ship(self, command: CreateShipment) -> None:
        labels: list[ShipmentRef] = []  # shipments whose label may have been bought for nothing
        try:
            async with self._shipping:
                await self._hand_over(command, labels)
        except FailureError:
            for parcel in labels:  # outside the lock: a carrier that is down blocks no other shipment
                await self._void_label(parcel)
            raise

    async def _hand_over(self, command: CreateShipment, labels: list[ShipmentRef]) -> None:
        planned = await self._plan(command)
        while planned.unfinished is not None:
            await self._hand_over(planned.unfinished, labels)
            planned = await self._plan(command)
        if planned.finished:
            return
        if command.tracking_number is None:
            await self._buy_label(command, planned, labels)
        await self._capture(command, planned, labels)
        await workflow.execute_local_activity_method(
            Fulfilment.confirm_shipment, args=[command, planned], summary="confirm shipment", **DATABASE
        )
        labels.clear()  # the label is in use: a later shipment's refusal doesn't void it
        self._show_status(OrderStatus.SHIPPED if planned.final else OrderStatus.PARTIALLY_SHIPPED)

    async def _plan(self, command: CreateShipment) -> ShipmentPlanned:
        return await workflow.execute_local_activity_method(
            Fulfilment.plan_shipment, command, summary="plan shipment", **DATABASE
        )

    async def _finish_shipment(self, parcel: CreateShipment) -> None:
        """Resumes a shipment whose execution was terminated or whose worker died: its capture may have happened.
        Failures open manual tasks where they occur."""
        with contextlib.suppress(ActivityError):
            await self._ship(parcel)

    @workflow.update
    @recorded
    async def record_tracking_event(self, command: RecordTrackingEvent) -> None:
        """Records a carrier's tracking event."""
        async with self._shipping:
            await workflow.execute_local_activity_method(
                Fulfilment.record_tracking_event, command, summary=f"parcel {command.status}", **DATABASE
            )

    async def _send_confirmation(self) -> None:
        """Sends in a local activity once; if that fails, in a remote activity with retries, then as a manual task."""
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
            await self._open_task("confirmation-mail", str(error.cause or error))

    async def _void_label(self, parcel: ShipmentRef) -> None:
        await self._undo.retry_until_resolved(
            "void-label",
            lambda: workflow.execute_activity_method(
                Parcels.void_label, parcel, summary="void the label", **COMPENSATION
            ),
        )

    async def _buy_label(self, command: CreateShipment, planned: ShipmentPlanned, labels: list[ShipmentRef]) -> None:
        """Buys the label. On failure discards the shipment; the caller voids a label that may have been bought."""
        labels.append(ShipmentRef(order_id=command.order_id, shipment_id=command.shipment_id))
        try:
            await workflow.execute_activity_method(
                Parcels.buy_label,
                BuyLabel(
                    order_id=command.order_id,
                    shipment_id=command.shipment_id,
                    service=command.service,
                    retrieve_first=planned.repeated,
                ),
                summary="buy a label",
                **LABEL,
            )
        except FailureError:
            await workflow.execute_local_activity_method(
                Fulfilment.discard_shipment, command, summary="discard: no label", **DATABASE
            )
            raise

    async def _capture(self, command: CreateShipment, planned: ShipmentPlanned, labels: list[ShipmentRef]) -> None:
        """Captures the shipment's share. A final refusal discards the shipment and opens a manual task."""
        if planned.reference is None or planned.provider is None:
            return
        try:
            await workflow.execute_activity_method(
                OrderPayments.capture_payment,
                CapturePayment(
                    shipment_id=command.shipment_id,
                    provider=planned.provider,
                    reference=planned.reference,
                    amount=planned.capture,
                    captured_before=planned.captured_before,
                    final=planned.final,
                    retrieve_first=planned.repeated,
                ),
                summary=f"capture {planned.capture.amount} {planned.capture.currency}",
                **CAPTURE,
            )
        except FailureError as error:
            if (refusal := refusal_in(error)) is None or not refusal.certain:
                # Unknown for a day: the plan stays, so that the same goods don't ship on another payment.
                labels.clear()
                await self._open_task("capture-unknown", str(error.cause or error))
                raise
            if not await self._payment_failed(command, refusal):
                await workflow.execute_local_activity_method(
                    Fulfilment.discard_shipment, command, summary="discard: capture refused", **DATABASE
                )
                differs = refusal.error == CaptureDiffers.__name__
                await self._open_task("capture-differs" if differs else "capture-refused", refusal.detail)
            raise

    async def _payment_failed(self, command: CreateShipment, refusal: Refusal) -> bool:
        """Whether the order now waits for another payment, which PaymentRetry collects; its plan is discarded too."""
        if refusal.error not in DECLINED_BY_ISSUER or not workflow.patched("payment-retry"):
            return False
        failed = await workflow.execute_local_activity_method(
            PaymentRetries.fail_payment,
            FailPayment(
                order_id=command.order_id,
                shipment_id=command.shipment_id,
                decline_code=refusal.extra.get("decline_code") or "generic_decline",
                actor=command.actor,
            ),
            summary="the payment has failed",
            **DATABASE,
        )
        if failed:
            self._show_status(OrderStatus.PAYMENT_RETRYING)
        return failed

    async def _open_task(self, kind: str, detail: str) -> None:
        await workflow.execute_local_activity_method(
            Tasks.open_task, OpenTask(kind=kind, subject=self._ref.order_id, detail=detail), **DATABASE
        )

    def _show_status(self, status: OrderStatus) -> OrderStatus:
        if status is not self._shown:
            self._shown = status
            workflow.set_current_details(DETAILS.get(status, str(status)))
            workflow.upsert_search_attributes([STATUS.value_set(status)])
        return status
