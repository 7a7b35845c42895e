"""An order's life after the click: its confirmation mail, parcels and their money, delivery, the return window."""

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
    from models.errors import AuthorisationGone, CaptureRefused, HoldfastError, Refusal
    from models.orders.commands import By, OrderRequest, OrderSnapshot, ReleaseAuthorisation
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
NO_INITIATOR = By()
DECLINED_BY_ISSUER = (CaptureRefused.__name__, AuthorisationGone.__name__)
RECHECK_INTERVAL = timedelta(days=1)

# What an operator reads in the Temporal UI.
DETAILS = {
    OrderStatus.CONFIRMED: "Confirmed: waiting for the warehouse",
    OrderStatus.PROCESSING: "The warehouse is at it",
    OrderStatus.PARTIALLY_SHIPPED: "Partially shipped: waiting for the warehouse",
    OrderStatus.SHIPPED: "Shipped: waiting for delivery",
    OrderStatus.DELIVERED: "Delivered",
    OrderStatus.COMPLETED: "Completed",
    OrderStatus.PAYMENT_RETRYING: "The payment did not work: it is being retried (see payment-retry/…)",
    OrderStatus.ON_HOLD: "On hold: nothing leaves until it is released",
    OrderStatus.CANCELLED: "Cancelled",
    OrderStatus.RETURN_REQUESTED: "Something of it is on its way back (see return/…)",
    OrderStatus.RETURNED: "Returned: nothing of it is with the buyer",
}


@workflow.defn(name="Order", failure_exception_types=[HoldfastError])
class Order(CompensatingWorkflow, AcceptsUpdates):
    @workflow.init
    def __init__(self, order: FulfilOrder) -> None:
        self._order = order
        self._ref = OrderRef(order_id=order.order_id)
        self._undo = Compensations(order.order_id)
        self._woken = order.resumed  # somebody has changed the order: look at it
        self._shown = OrderStatus.CONFIRMED
        self._shipping = asyncio.Lock()  # one parcel at a time decides what is left to ship
        self._confirming: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None  # of a parcel whose command was lost

    @workflow.run
    async def run(self, order: FulfilOrder) -> OrderStatus:
        """Tell the buyer; follow the order until it has arrived or is cancelled; close the return window."""
        workflow.set_current_details(DETAILS[OrderStatus.CONFIRMED])
        if not order.notified:
            self._confirming = asyncio.create_task(self._send_confirmation())
        snapshot = await self._wait_for_delivery()
        status = snapshot.status
        if status not in ENDS:
            status = await self._close_return_window(snapshot, timedelta(seconds=order.return_window_seconds))
        for beside in self._background_tasks:
            await beside
        await self._updates_recorded()
        return self._show_status(status)

    async def _wait_for_delivery(self) -> OrderSnapshot:
        while True:
            await self._wait_for_wake_up(None, "news")
            snapshot = await self._load()
            if snapshot.status in ENDS or snapshot.fulfilment is OrderStatus.DELIVERED:
                return snapshot

    async def _load(self) -> OrderSnapshot:
        """How it stands. What the buyer's bank has promised in vain is given back as soon as that is known."""
        self._woken = False
        snapshot = await workflow.execute_local_activity_method(
            OrderCommands.load_order, self._ref, summary="look at the order", **DATABASE
        )
        if snapshot.unused_authorisation:
            await self._release_authorisation()
        if snapshot.unfinished and (self._finishing is None or self._finishing.done()):
            self._finishing = asyncio.create_task(self._finish_shipment(snapshot.unfinished))
        self._show_status(snapshot.status)
        return snapshot

    async def _release_authorisation(self) -> None:
        workflow.set_current_details("Giving back what the bank has promised and nobody will take")
        release = ReleaseAuthorisation(order_id=self._ref.order_id)
        self._undo.push(
            "release-authorisation",
            lambda: workflow.execute_activity_method(
                OrderPayments.release_authorisation, release, summary="release the authorisation", **COMPENSATION
            ),
        )
        await self._undo.unwind()

    async def _close_return_window(self, snapshot: OrderSnapshot, window: timedelta) -> OrderStatus:
        """Its time runs from the delivery; something on its way back keeps it open until that has arrived."""
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
            await self._wait_for_wake_up(RECHECK_INTERVAL, "next look at what is on its way back")

    async def _wait_for_wake_up(self, timeout: timedelta | None, why: str) -> None:
        """Between two looks there is nothing to remember but the input: here a long history is left behind."""
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._woken or self._history_is_long(), timeout=timeout, timeout_summary=why
            )
        if self._history_is_long():
            await self._updates_recorded()
        if not self._woken and self._history_is_long():
            workflow.continue_as_new(self._order.model_copy(update={"resumed": True, "notified": True}))

    def _history_is_long(self) -> bool:
        """While nobody is being answered: a handler, or a mail that is still being tried, would be cut off."""
        info = workflow.info()
        limit = self._order.history_limit
        long = info.is_continue_as_new_suggested() or (limit and info.get_current_history_length() >= limit)
        return bool(long and all(task.done() for task in self._background_tasks) and workflow.all_handlers_finished())

    @property
    def _background_tasks(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._confirming, self._finishing) if task is not None]

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """Something has happened to the order; the database says what."""
        self._woken = True

    @workflow.update
    @recorded
    async def cancel(self, initiator: By = NO_INITIATOR) -> OrderStatus:
        """Before anything has left: stock back at once, then the money."""
        return await self._run_command(OrderCommands.cancel_order, initiator, "cancel")

    @workflow.update
    @recorded
    async def cancel_remainder(self, initiator: By = NO_INITIATOR) -> OrderStatus:
        """What has not left never will; the rest goes on to the buyer."""
        return await self._run_command(OrderCommands.cancel_remainder, initiator, "cancel the rest")

    @workflow.update
    @recorded
    async def hold(self, initiator: By = NO_INITIATOR) -> OrderStatus:
        """Nothing leaves until it is released."""
        return await self._run_command(OrderCommands.hold_order, initiator, "hold")

    @workflow.update
    @recorded
    async def release(self, initiator: By = NO_INITIATOR) -> OrderStatus:
        """What was on hold goes on."""
        return await self._run_command(OrderCommands.release_order, initiator, "release")

    async def _run_command(self, command: Callable[..., OrderStatus], initiator: By, summary: str) -> OrderStatus:
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
        """The warehouse hands over a parcel: planned, labelled, paid, then out. Refused whole or done whole."""
        await self._ship(command)

    async def _ship(self, command: CreateShipment) -> None:
        labels: list[ShipmentRef] = []  # for whose parcels one may have been bought in vain
        try:
            async with self._shipping:
                await self._hand_over(command, labels)
        except FailureError:
            for parcel in labels:  # outside the lock: a carrier that is down holds up no other parcel
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
        labels.clear()  # it is on the parcel: another one's refusal takes back nothing of it
        self._show_status(OrderStatus.SHIPPED if planned.final else OrderStatus.PARTIALLY_SHIPPED)

    async def _plan(self, command: CreateShipment) -> ShipmentPlanned:
        return await workflow.execute_local_activity_method(
            Fulfilment.plan_shipment, command, summary="plan shipment", **DATABASE
        )

    async def _finish_shipment(self, parcel: CreateShipment) -> None:
        """Its execution was ended by hand, or its worker died: its money may be taken. Whoever has to see to it is
        told."""
        with contextlib.suppress(ActivityError):
            await self._ship(parcel)

    @workflow.update
    @recorded
    async def record_tracking_event(self, command: RecordTrackingEvent) -> None:
        """The carrier's word on a parcel."""
        async with self._shipping:
            await workflow.execute_local_activity_method(
                Fulfilment.record_tracking_event, command, summary=f"parcel {command.status}", **DATABASE
            )

    async def _send_confirmation(self) -> None:
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
            await self._open_task("confirmation-mail", str(error.cause or error))

    async def _void_label(self, parcel: ShipmentRef) -> None:
        await self._undo.retry_until_resolved(
            "void-label",
            lambda: workflow.execute_activity_method(
                Parcels.void_label, parcel, summary="take the label back", **COMPENSATION
            ),
        )

    async def _buy_label(self, command: CreateShipment, planned: ShipmentPlanned, labels: list[ShipmentRef]) -> None:
        """Without one the parcel stays; what may have been bought is looked up and taken back."""
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
                Fulfilment.discard_shipment, command, summary="no label", **DATABASE
            )
            raise

    async def _capture(self, command: CreateShipment, planned: ShipmentPlanned, labels: list[ShipmentRef]) -> None:
        """Takes the parcel's share. What the provider refuses for good stays in the house, for a person to see."""
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
                # Unknown for a day: the plan stays, so that nobody ships the same goods on another payment.
                labels.clear()
                await self._open_task("capture-unknown", str(error.cause or error))
                raise
            if not await self._payment_failed(command, refusal):
                await workflow.execute_local_activity_method(
                    Fulfilment.discard_shipment, command, summary="capture refused", **DATABASE
                )
                await self._open_task("capture-refused", refusal.detail)
            raise

    async def _payment_failed(self, command: CreateShipment, refusal: Refusal) -> bool:
        """Whether the order now waits for another payment: then the parcel stays, and PaymentRetry takes over."""
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
