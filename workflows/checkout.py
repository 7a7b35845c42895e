"""The checkout: one submission, from the stock hold to confirmed, declined, refused or expired (docs/checkout.md).

Tests: tests/workflows/test_checkout.py, tests/api/checkout/; histories: tests/histories/Checkout/.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.checkout.checkouts import Checkouts
    from activities.delivery.tasks import Tasks
    from activities.payments.methods import PaymentMethods
    from activities.payments.payments import Payments
    from models.checkout.checkouts import (
        AuthorisePayment,
        BeginCheckout,
        CloseCheckout,
        ConfirmOrder,
        FindPayment,
        ReleaseHold,
        RequireAction,
        StockHeld,
        VoidPayment,
    )
    from models.delivery.stored_responses import CommandResponse
    from models.delivery.tasks import OpenTask
    from models.errors import (
        CheckoutExpired,
        HoldfastError,
        PaymentDeclined,
        ProviderUnavailable,
        Refusal,
        Unavailable,
    )
    from models.ids import derived_id, payment_of
    from models.payments.methods import EnsureCustomer, SaveCheckoutPaymentMethod
    from models.payments.provider import ProviderPayment, ProviderPaymentStatus
    from models.states import CheckoutStatus
    from workflows.compensation import Compensations
    from workflows.failures import refusal_in
    from workflows.options import (
        COMPENSATION,
        DATABASE,
        PAYMENT,
        PAYMENT_COMPLETION,
        PAYMENT_LOOKUP,
        PAYMENT_POLL,
        lookup_until,
    )
    from workflows.search_attributes import CHECKOUT_STATUS
    from workflows.submission import DEADLINE, Submission

STATUS = SearchAttributeKey.for_keyword(CHECKOUT_STATUS)
AUTHORISE_ATTEMPTS = 3


@workflow.defn(name="Checkout", failure_exception_types=[HoldfastError])
class Checkout(Submission):
    _begin: BeginCheckout

    @workflow.init
    def __init__(self, begin: BeginCheckout) -> None:
        self._begin = begin
        self._undo = Compensations(begin.checkout_id)
        self._action_required = False  # whether the payment has required a next action of the buyer
        self._hold_timer: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, begin: BeginCheckout) -> CheckoutStatus:
        """Hold, authorise, wait for a next action, compare, confirm; run the compensations on any refusal."""
        payment = None
        try:
            held = await self._hold_stock()
            if held.ended is not None and held.response is not None:
                return self._finish(held.ended, held.response)
            if held.payment_id is not None:
                payment = await self._authorise(held, held.payment_id)
                payment = await self._wait_for_authorisation(held, payment)
                await self._compare(held, payment)
            status = self._finish(CheckoutStatus.CONFIRMED, await self._confirm(held, payment))
        except (FailureError, HoldfastError, asyncio.CancelledError) as error:
            status = await self._refuse(refusal_in(error) or Refusal.of(Unavailable()))
        self._stop_hold_timer()
        if begin.save and payment is not None and status is CheckoutStatus.CONFIRMED:
            await self._save_method(payment)
        await self._before_end()
        return status

    async def _before_end(self) -> None:
        """A checkout that is decided in its first workflow task ends in that task, which is the cheapest.

        The outbox signals only a checkout that has required an action, so no signal discards that task. If another
        event does, the API submits again with the same ids and gets the same answer.
        """
        if self._action_required or workflow.info().get_current_history_length() != self._first_step_at:
            await self._updates_recorded()
        else:
            await workflow.wait_condition(workflow.all_handlers_finished)

    # Signals; the updates are those of a Submission

    @workflow.signal
    def payment_changed(self) -> None:
        """Wake-up: a provider event about this payment is stored."""
        self._wake_ups += 1

    # The steps

    async def _hold_stock(self) -> StockHeld:
        self._details("Holding stock")
        self._first_step_at = workflow.info().get_current_history_length()
        held = await workflow.execute_local_activity_method(
            Checkouts.hold_stock, self._begin, summary="hold stock", **DATABASE
        )
        self._held_at = workflow.now()
        return held

    # The hold's timer

    def _start_hold_timer(self) -> None:
        """From here on the checkout waits for more than the database: the hold is released when it is due."""
        if self._hold_timer is None:
            self._hold_timer = asyncio.create_task(self._release_hold_when_due())

    def _stop_hold_timer(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.cancel()

    # Authorisation

    async def _authorise(self, held: StockHeld, payment_id: str) -> ProviderPayment:
        """Authorises with one bounded call per attempt. Resolves an unknown outcome at the provider.

        Only a payment that is certainly absent allows another attempt, with another idempotency key. Raises
        CheckoutExpired at the deadline.
        """
        customer = await self._customer()
        for self._attempt in range(1, AUTHORISE_ATTEMPTS + 1):
            if self._late:
                raise CheckoutExpired()
            self._details(f"Authorising {_amount_text(held)}, attempt {self._attempt}")
            command = AuthorisePayment(
                checkout_id=self._begin.checkout_id,
                order_id=self._begin.order_id,
                cart_id=self._begin.cart_id,
                payment_id=payment_id,
                attempt=self._attempt,
                amount=held.total,
                provider=self._begin.provider,
                method=self._begin.method,
                not_before=workflow.info().start_time,
                customer=customer,
                save=self._begin.save,
            )
            payment = await self._charge(held, command)
            if payment.state is not ProviderPaymentStatus.ABSENT:
                break
            self._undo.drop()
        else:
            raise ProviderUnavailable()
        if payment.state is ProviderPaymentStatus.DECLINED:
            self._undo.drop()
            raise PaymentDeclined(decline_code=payment.decline_code)
        self._undo.drop()
        self._push_void(command, payment.reference)
        return payment

    async def _customer(self) -> str | None:
        """The provider's customer that owns the method, or will own it. Raises ProviderUnavailable."""
        if not self._begin.save or self._begin.customer_id is None:
            return self._begin.customer
        command = EnsureCustomer(
            user_id=self._begin.customer_id,
            provider=self._begin.provider,
            not_before=workflow.info().start_time,
        )
        try:
            return await workflow.execute_local_activity_method(
                PaymentMethods.ensure_payment_customer, command, summary="customer at the provider", **PAYMENT
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            raise ProviderUnavailable() from error

    async def _save_method(self, payment: ProviderPayment) -> None:
        """Adds the method that paid to the buyer's saved methods. The order doesn't depend on it."""
        assert self._begin.customer_id is not None
        assert payment.reference is not None
        command = SaveCheckoutPaymentMethod(
            payment_method_id=derived_id("pm", self._begin.checkout_id),
            user_id=self._begin.customer_id,
            provider=self._begin.provider,
            payment_id=payment_of(self._begin.checkout_id),
            reference=payment.reference,
        )
        try:
            await workflow.execute_activity_method(
                PaymentMethods.save_checkout_payment_method, command, summary="save the method", **COMPENSATION
            )
        except FailureError as error:
            task = OpenTask(kind="save-payment-method", subject=self._begin.order_id, detail=str(error.cause or error))
            await workflow.execute_local_activity_method(Tasks.open_task, task, **DATABASE)

    async def _charge(self, held: StockHeld, command: AuthorisePayment) -> ProviderPayment:
        """Authorises in a local activity; a remote activity resolves an unknown outcome (retrieve, then retry)."""
        if command.attempt == 1 and not held.repeated:
            try:
                return await workflow.execute_local_activity_method(
                    Payments.authorise_payment, command, summary=f"authorise {_amount_text(held)}", **PAYMENT
                )
            except FailureError as error:
                if self._certain(error):
                    raise  # certain: nothing to undo at the provider
                if is_cancelled_exception(error):
                    self._push_void(command)
                    raise
        self._push_void(command)
        self._details("Payment outcome unknown: resolving it at the provider")
        if not workflow.patched(DEADLINE):
            return await workflow.execute_activity_method(
                Payments.resolve_payment_outcome, command, summary="resolve unknown outcome", **PAYMENT_LOOKUP
            )
        self._start_hold_timer()
        return await self._resolve(command.model_copy(update={"not_after": self._deadline}))

    async def _resolve(self, command: AuthorisePayment) -> ProviderPayment:
        """Resolves an unknown outcome until the deadline. Raises CheckoutExpired if it is not resolved then, or late:
        the compensation searches on, and voids the payment that turns up."""
        resolving = workflow.execute_activity_method(
            Payments.resolve_payment_outcome,
            command,
            summary="resolve unknown outcome",
            **lookup_until(self._deadline - workflow.now()),
        )
        payment = await self._result_by_deadline(resolving, CheckoutExpired)
        if self._late and payment.state is not ProviderPaymentStatus.DECLINED:
            self._unresolved = True
            raise CheckoutExpired()
        return payment

    def _push_void(self, command: AuthorisePayment, reference: str | None = None) -> None:
        void = VoidPayment(
            checkout_id=command.checkout_id,
            attempt=command.attempt,
            provider=command.provider,
            not_before=command.not_before,
            reference=reference,
        )
        self._undo.push(
            "void-payment",
            lambda: workflow.execute_activity_method(
                Payments.void_payment, void, summary="void payment", **COMPENSATION
            ),
        )

    async def _wait_for_authorisation(self, held: StockHeld, payment: ProviderPayment) -> ProviderPayment:
        """Returns the authorised payment. Polls it on a webhook, on the buyer's return and at intervals.

        Raises PaymentDeclined, CheckoutExpired.
        """
        if payment.state is ProviderPaymentStatus.AUTHORISED:
            return payment
        assert payment.reference is not None
        bounded = workflow.patched(DEADLINE)
        deadline = self._deadline if bounded else workflow.now() + timedelta(seconds=self._begin.payment_action_seconds)
        if await self._require_action(payment, deadline):
            self._wake_ups += 1
        self._start_hold_timer()
        try:
            while workflow.now() < deadline:
                seen = await self._wait_for_poll(deadline - workflow.now())
                payment = await self._retrieve(payment)
                if payment.state is ProviderPaymentStatus.APPROVED:
                    payment = await self._complete(payment)
                if payment.state in (ProviderPaymentStatus.AUTHORISED, ProviderPaymentStatus.CAPTURED):
                    return payment
                if payment.state in (ProviderPaymentStatus.DECLINED, ProviderPaymentStatus.CANCELLED):
                    raise PaymentDeclined(decline_code=payment.decline_code or "authentication_required")
                self._handled = seen  # not before: `resume` returns the final response where there is one
            return await self._expire(payment)
        finally:
            if not bounded:
                self._stop_hold_timer()

    async def _require_action(self, payment: ProviderPayment, deadline: datetime) -> bool:
        """Records and answers `requires_action`; true if a provider event has arrived in the meantime."""
        required = await workflow.execute_local_activity_method(
            Checkouts.require_action,
            RequireAction(
                checkout_id=self._begin.checkout_id,
                reference=payment.reference or "",
                next_action=payment.next_action or {"type": "wait"},
                expires_at=deadline,
            ),
            summary="require the buyer's action",
            **DATABASE,
        )
        self._action_required = True
        self._response = required.response
        self._details(f"Waiting for the buyer at the bank until {deadline:%H:%M:%S} UTC")
        workflow.upsert_search_attributes([STATUS.value_set(CheckoutStatus.REQUIRES_ACTION)])
        return required.changed

    def _find_command(self, payment: ProviderPayment) -> FindPayment:
        return FindPayment(
            checkout_id=self._begin.checkout_id,
            attempt=self._attempt,
            provider=self._begin.provider,
            not_before=workflow.now(),
            not_after=self._deadline if workflow.patched(DEADLINE) else None,
            reference=payment.reference,
        )

    async def _retrieve(self, payment: ProviderPayment) -> ProviderPayment:
        try:
            return await workflow.execute_local_activity_method(
                Payments.retrieve_payment, self._find_command(payment), summary="retrieve the payment", **PAYMENT_POLL
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return payment  # the provider is down: no change is known

    async def _complete(self, payment: ProviderPayment) -> ProviderPayment:
        """Authorises an approved payment: a PayPal approval holds no money. On failure returns it unchanged."""
        try:
            return await workflow.execute_activity_method(
                Payments.complete_payment, self._find_command(payment), summary="hold the money", **PAYMENT_COMPLETION
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return payment

    async def _release_hold_when_due(self) -> None:
        left = timedelta(seconds=self._begin.hold_seconds)
        if workflow.patched(DEADLINE):
            left -= workflow.now() - self._held_at
        await asyncio.sleep(left.total_seconds())
        await workflow.execute_local_activity_method(
            Checkouts.release_hold,
            ReleaseHold(checkout_id=self._begin.checkout_id),
            summary="hold has run out",
            **DATABASE,
        )

    async def _expire(self, payment: ProviderPayment) -> ProviderPayment:
        """Cancels at the provider, then raises CheckoutExpired. Returns the payment if it turns out paid.

        A provider that is down keeps the buyer no longer than that: the compensation goes on cancelling.
        """
        self._details("Out of time: cancelling at the provider")
        void = VoidPayment(
            checkout_id=self._begin.checkout_id,
            attempt=self._attempt,
            provider=self._begin.provider,
            not_before=workflow.now(),
            reference=payment.reference,
        )
        cancelling = workflow.execute_activity_method(
            Payments.cancel_payment,
            void,
            summary="cancel expired payment",
            **(lookup_until(timedelta()) if workflow.patched(DEADLINE) else COMPENSATION),
        )
        cancelled = await self._result_by_deadline(cancelling, CheckoutExpired)
        if cancelled.state is ProviderPaymentStatus.CANCELLED:
            raise CheckoutExpired()
        return cancelled

    async def _compare(self, held: StockHeld, payment: ProviderPayment) -> None:
        """The authorised amount must equal the total, to the minor unit; else a manual task, and the void."""
        if payment.amount == held.total and payment.state in (
            ProviderPaymentStatus.AUTHORISED,
            ProviderPaymentStatus.CAPTURED,
        ):
            return
        detail = f"total {held.total}, authorised at the provider {payment.amount} ({payment.state})"
        await workflow.execute_local_activity_method(
            Tasks.open_task,
            OpenTask(kind="payment-mismatch", subject=self._begin.checkout_id, detail=detail),
            summary="payment differs",
            **DATABASE,
        )
        raise ProviderUnavailable("The payment did not match and was given back")

    async def _confirm(self, held: StockHeld, payment: ProviderPayment | None) -> CommandResponse:
        self._details("Confirming the order")
        command = ConfirmOrder(
            checkout_id=self._begin.checkout_id,
            order_id=self._begin.order_id,
            payment_id=held.payment_id,
            provider=self._begin.provider,
            reference=payment.reference if payment else None,
        )
        return await workflow.execute_local_activity_method(
            Checkouts.confirm_order, command, summary="confirm order", **DATABASE
        )

    # Final states

    def _finish(self, status: CheckoutStatus, answer: CommandResponse) -> CheckoutStatus:
        self._response = answer
        self._final = True
        self._details(f"Done: {status}")
        workflow.upsert_search_attributes([STATUS.value_set(status)])
        return status

    async def _refuse(self, refusal: Refusal) -> CheckoutStatus:
        """Runs the compensations, shielded from cancellation: money first, then stock and promotion; then responds.

        Of an unresolved outcome the buyer is answered first, and the cart is open again: the provider may be down for
        hours more.
        """
        self._details(f"Unwinding: {refusal.error}, {refusal.detail}")
        status = {
            PaymentDeclined.__name__: CheckoutStatus.DECLINED,
            CheckoutExpired.__name__: CheckoutStatus.EXPIRED,
        }.get(refusal.error, CheckoutStatus.REFUSED)
        if not self._unresolved:
            await self._undo.unwind()
        close = CloseCheckout(begin=self._begin, status=status, refusal=refusal)
        answer = await asyncio.shield(
            workflow.execute_local_activity_method(
                Checkouts.close_checkout, close, summary=f"close: {refusal.error}", **DATABASE
            )
        )
        self._finish(status, answer)
        self._stop_hold_timer()
        await self._undo.unwind()
        self._details(f"Ended {status}: {refusal.error}, {refusal.detail}")
        return status

    def _details(self, text: str) -> None:
        workflow.set_current_details(text)


def _amount_text(held: StockHeld) -> str:
    return f"{held.total.amount} {held.total.currency}"
