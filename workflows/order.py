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
    from models.orders.commands import By, OrderStands, ReleaseAuthorisation, SteerOrder
    from models.orders.fulfilment import (
        BuyLabel,
        CapturePayment,
        FulfilOrder,
        OrderRef,
        ParcelPlanned,
        ParcelRef,
        ScanParcel,
        ShipParcel,
    )
    from models.payments.retry import FailPayment
    from models.states import OrderStatus
    from workflows.compensation import Compensations, Unwinds
    from workflows.failures import refusal_in
    from workflows.options import CAPTURE, COMPENSATION, DATABASE, LABEL, MAIL, MAIL_LATER
    from workflows.search_attributes import ORDER_STATUS
    from workflows.updates import AcceptsUpdates, recorded

STATUS = SearchAttributeKey.for_keyword(ORDER_STATUS)
ENDS = (OrderStatus.CANCELLED, OrderStatus.RETURNED)
NOBODY = By()
REFUSED_BY_BANK = (CaptureRefused.__name__, AuthorisationGone.__name__)
LOOK_AGAIN = timedelta(days=1)

# What an operator reads in the Temporal UI.
WORDS = {
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
class Order(Unwinds, AcceptsUpdates):
    @workflow.init
    def __init__(self, order: FulfilOrder) -> None:
        self._order = order
        self._ref = OrderRef(order_id=order.order_id)
        self._undo = Compensations(order.order_id)
        self._news = order.resumed  # somebody has changed the order: look at it
        self._shown = OrderStatus.CONFIRMED
        self._parcels = asyncio.Lock()  # one parcel at a time decides what is left to ship
        self._telling: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None  # of a parcel whose command was lost

    @workflow.run
    async def run(self, order: FulfilOrder) -> OrderStatus:
        """Tell the buyer; follow the order until it has arrived or is cancelled; close the return window."""
        workflow.set_current_details(WORDS[OrderStatus.CONFIRMED])
        if not order.told:
            self._telling = asyncio.create_task(self._tell_buyer())
        stands = await self._until_it_has_arrived()
        status = stands.status
        if status not in ENDS:
            status = await self._close_return_window(stands, timedelta(seconds=order.return_window_seconds))
        for beside in self._beside:
            await beside
        await self._updates_recorded()
        return self._now(status)

    async def _until_it_has_arrived(self) -> OrderStands:
        while True:
            await self._news_within(None, "news")
            stands = await self._look()
            if stands.status in ENDS or stands.fulfilment is OrderStatus.DELIVERED:
                return stands

    async def _look(self) -> OrderStands:
        """How it stands. What the buyer's bank has promised in vain is given back as soon as that is known."""
        self._news = False
        stands = await workflow.execute_local_activity_method(
            OrderCommands.look_at_order, self._ref, summary="look at the order", **DATABASE
        )
        if stands.unneeded:
            await self._release_authorisation()
        if stands.unfinished and (self._finishing is None or self._finishing.done()):
            self._finishing = asyncio.create_task(self._finish(stands.unfinished))
        self._now(stands.status)
        return stands

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

    async def _close_return_window(self, stands: OrderStands, window: timedelta) -> OrderStatus:
        """Its time runs from the delivery; something on its way back keeps it open until that has arrived."""
        until = workflow.now() + window - timedelta(seconds=stands.since_delivery)
        workflow.set_current_details(f"Delivered: can be returned until {until:%Y-%m-%d}")
        while (left := until - workflow.now()) > timedelta():
            await self._news_within(left, "return window")
            if self._news and (status := (await self._look()).status) in ENDS:
                return status
        while True:
            await workflow.wait_condition(workflow.all_handlers_finished)
            self._news = False
            status = await workflow.execute_local_activity_method(
                Fulfilment.complete_order, self._ref, summary="complete order", **DATABASE
            )
            if self._now(status) in (OrderStatus.COMPLETED, *ENDS):
                return status
            await self._news_within(LOOK_AGAIN, "next look at what is on its way back")

    async def _news_within(self, patience: timedelta | None, why: str) -> None:
        """Between two looks there is nothing to remember but the input: here a long history is left behind."""
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(lambda: self._news or self._is_long(), timeout=patience, timeout_summary=why)
        if self._is_long():
            await self._updates_recorded()
        if not self._news and self._is_long():
            workflow.continue_as_new(self._order.model_copy(update={"resumed": True, "told": True}))

    def _is_long(self) -> bool:
        """While nobody is being answered: a handler, or a mail that is still being tried, would be cut off."""
        info = workflow.info()
        limit = self._order.history_limit
        long = info.is_continue_as_new_suggested() or (limit and info.get_current_history_length() >= limit)
        return bool(long and all(task.done() for task in self._beside) and workflow.all_handlers_finished())

    @property
    def _beside(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._telling, self._finishing) if task is not None]

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """Something has happened to the order; the database says what."""
        self._news = True

    @workflow.update
    @recorded
    async def cancel(self, by: By = NOBODY) -> OrderStatus:
        """Before anything has left: stock back at once, then the money."""
        return await self._steer(OrderCommands.cancel_order, by, "cancel")

    @workflow.update
    @recorded
    async def cancel_remainder(self, by: By = NOBODY) -> OrderStatus:
        """What has not left never will; the rest goes on to the buyer."""
        return await self._steer(OrderCommands.cancel_remainder, by, "cancel the rest")

    @workflow.update
    @recorded
    async def hold(self, by: By = NOBODY) -> OrderStatus:
        """Nothing leaves until it is released."""
        return await self._steer(OrderCommands.hold_order, by, "hold")

    @workflow.update
    @recorded
    async def release(self, by: By = NOBODY) -> OrderStatus:
        """What was on hold goes on."""
        return await self._steer(OrderCommands.release_order, by, "release")

    async def _steer(self, command: Callable[..., OrderStatus], by: By, summary: str) -> OrderStatus:
        asked = workflow.current_update_info()
        by = by if by.cause or asked is None else by.model_copy(update={"cause": asked.id})
        steer = SteerOrder(order_id=self._ref.order_id, by=by)
        status: OrderStatus = await workflow.execute_local_activity(command, steer, summary=summary, **DATABASE)
        self._news = True
        return self._now(status)

    @workflow.update
    @recorded
    async def ship(self, command: ShipParcel) -> None:
        """The warehouse hands over a parcel: planned, labelled, paid, then out. Refused whole or done whole."""
        await self._ship(command)

    async def _ship(self, command: ShipParcel) -> None:
        labels: list[ParcelRef] = []  # for whose parcels one may have been bought in vain
        try:
            async with self._parcels:
                await self._hand_over(command, labels)
        except FailureError:
            for parcel in labels:  # outside the lock: a carrier that is down holds up no other parcel
                await self._take_back_label(parcel)
            raise

    async def _hand_over(self, command: ShipParcel, labels: list[ParcelRef]) -> None:
        planned = await self._plan(command)
        while planned.unfinished is not None:
            await self._hand_over(planned.unfinished, labels)
            planned = await self._plan(command)
        if planned.settled:
            return
        if command.tracking_number is None:
            await self._buy_label(command, planned, labels)
        await self._capture(command, planned, labels)
        await workflow.execute_local_activity_method(
            Fulfilment.confirm_shipment, args=[command, planned], summary="confirm shipment", **DATABASE
        )
        labels.clear()  # it is on the parcel: another one's refusal takes back nothing of it
        self._now(OrderStatus.SHIPPED if planned.final else OrderStatus.PARTIALLY_SHIPPED)

    async def _plan(self, command: ShipParcel) -> ParcelPlanned:
        return await workflow.execute_local_activity_method(
            Fulfilment.plan_shipment, command, summary="plan shipment", **DATABASE
        )

    async def _finish(self, parcel: ShipParcel) -> None:
        """Its execution was ended by hand, or its worker died: its money may be taken. Whoever has to see to it is
        told."""
        with contextlib.suppress(ActivityError):
            await self._ship(parcel)

    @workflow.update
    @recorded
    async def scan(self, command: ScanParcel) -> None:
        """The carrier's word on a parcel."""
        async with self._parcels:
            await workflow.execute_local_activity_method(
                Fulfilment.record_scan, command, summary=f"parcel {command.status}", **DATABASE
            )

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

    async def _take_back_label(self, parcel: ParcelRef) -> None:
        await self._undo.insist(
            "void-label",
            lambda: workflow.execute_activity_method(
                Parcels.void_label, parcel, summary="take the label back", **COMPENSATION
            ),
        )

    async def _buy_label(self, command: ShipParcel, planned: ParcelPlanned, labels: list[ParcelRef]) -> None:
        """Without one the parcel stays; what may have been bought is looked up and taken back."""
        labels.append(ParcelRef(order_id=command.order_id, shipment_id=command.shipment_id))
        try:
            await workflow.execute_activity_method(
                Parcels.buy_label,
                BuyLabel(
                    order_id=command.order_id,
                    shipment_id=command.shipment_id,
                    service=command.service,
                    look_first=planned.again,
                ),
                summary="buy a label",
                **LABEL,
            )
        except FailureError:
            await workflow.execute_local_activity_method(
                Fulfilment.drop_shipment, command, summary="no label", **DATABASE
            )
            raise

    async def _capture(self, command: ShipParcel, planned: ParcelPlanned, labels: list[ParcelRef]) -> None:
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
                    before=planned.before,
                    final=planned.final,
                    look_first=planned.again,
                ),
                summary=f"capture {planned.capture.amount} {planned.capture.currency}",
                **CAPTURE,
            )
        except FailureError as error:
            if (refusal := refusal_in(error)) is None or not refusal.certain:
                # Unknown for a day: the plan stays, so that nobody ships the same goods on another payment.
                labels.clear()
                await self._task("capture-unknown", str(error.cause or error))
                raise
            if not await self._payment_failed(command, refusal):
                await workflow.execute_local_activity_method(
                    Fulfilment.drop_shipment, command, summary="capture refused", **DATABASE
                )
                await self._task("capture-refused", refusal.detail)
            raise

    async def _payment_failed(self, command: ShipParcel, refusal: Refusal) -> bool:
        """Whether the order now waits for another payment: then the parcel stays, and PaymentRetry takes over."""
        if refusal.error not in REFUSED_BY_BANK or not workflow.patched("payment-retry"):
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
            self._now(OrderStatus.PAYMENT_RETRYING)
        return failed

    async def _task(self, kind: str, detail: str) -> None:
        await workflow.execute_local_activity_method(
            Tasks.open_task, OpenTask(kind=kind, subject=self._ref.order_id, detail=detail), **DATABASE
        )

    def _now(self, status: OrderStatus) -> OrderStatus:
        if status is not self._shown:
            self._shown = status
            workflow.set_current_details(WORDS.get(status, str(status)))
            workflow.upsert_search_attributes([STATUS.value_set(status)])
        return status
