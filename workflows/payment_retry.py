"""A payment that failed after its order was placed: attempted on a schedule of days, until it is paid or given up.

models/payments/dunning.py has the retry advice and the retry schedule; docs/payment-retry.md what people see.
Tests: tests/workflows/test_payment_retry.py, tests/api/payments/test_retry.py;
histories: tests/histories/PaymentRetry/.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.delivery.tasks import Tasks
    from activities.payments.retry import PaymentRetries
    from models.delivery.stored_responses import CommandResponse
    from models.delivery.tasks import OpenTask
    from models.errors import HoldfastError, InvalidTransition, PaymentDeclined, PaymentMethodInvalid
    from models.orders.orders import SYSTEM, Actor
    from models.payments.dunning import (
        EXTENSIONS,
        RETRY_SCHEDULE,
        RetryAdvice,
        due,
        given_up_at,
        retry_advice_of,
        strictest,
    )
    from models.payments.provider import ProviderPaymentStatus
    from models.payments.retry import (
        AcceptPayment,
        AttemptRequest,
        AttemptResult,
        BeginRetry,
        ChallengedAttempt,
        ChargeOrder,
        GiveUpPayment,
        PayWith,
        PlanAttempt,
        RecordRetrySchedule,
        RequirePayerAction,
        RetryCommand,
        RetryEnded,
        RetryPayment,
        RetrySnapshot,
        RetryState,
        VoidPaymentAttempt,
        Waiting,
    )
    from models.states import OrderStatus
    from workflows.compensation import CompensatingWorkflow, Compensations
    from workflows.options import COMPENSATION, DATABASE, PAYMENT_LOOKUP, PAYMENT_POLL
    from workflows.search_attributes import PAYMENT_RETRY_STATE
    from workflows.updates import AcceptsUpdates, recorded

STATE = SearchAttributeKey.for_keyword(PAYMENT_RETRY_STATE)
CHARGE_KEYS = 3
NO_INITIATOR = RetryCommand()
FAILED_AT_PROVIDER = AttemptResult(state=ProviderPaymentStatus.DECLINED, decline_code="processing_error")


@workflow.defn(name="PaymentRetry", failure_exception_types=[HoldfastError])
class PaymentRetry(CompensatingWorkflow, AcceptsUpdates):
    @workflow.init
    def __init__(self, begin: RetryPayment) -> None:
        self._begin = begin
        self._undo = Compensations(begin.order_id)
        self._charging = asyncio.Lock()  # one attempt at a time
        self._snapshot = RetrySnapshot(
            state=RetryState.RETRYING, status=OrderStatus.PAYMENT_RETRYING, failed_at=workflow.now()
        )
        self._challenge: ChallengedAttempt | None = None
        self._attempts = 0
        self._ready = False
        self._captured_elsewhere = False  # the provider has captured more of the failed payment than the ledger
        self._woken = False  # a reason to load the order: a webhook, an update, a changed order
        self._ended: RetryEnded | None = None

    @workflow.run
    async def run(self, begin: RetryPayment) -> RetryState:
        """Void the failed payment; attempt on schedule; end with the order paid, cancelled or given up."""
        async with self._charging:
            await self._start_or_resume()
            self._ready = True
        while self._ended is None:
            await self._until_due()
            if workflow.info().is_continue_as_new_suggested():
                await self._updates_recorded()
                workflow.continue_as_new(begin)
            async with self._charging:
                await self._run_due()
        await self._updates_recorded()
        if self._woken and await self._has_failed_again():
            workflow.continue_as_new(begin)
        return self._ended.state

    # Signals and updates

    @workflow.signal
    def changed(self) -> None:
        """Wake-up: the order has changed, or a provider event about its payment is stored."""
        self._woken = True

    @workflow.update
    @recorded
    async def pay(self, command: PayWith) -> CommandResponse:
        """Attempts a new method at once. Status 200: paid; 202: a challenge is required.

        Raises PaymentDeclined (the schedule goes on), PaymentMethodInvalid, NotFound, InvalidTransition.
        """
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("payment-method")
            if self._captured_elsewhere and workflow.patched("captured-elsewhere"):
                raise self._not_possible("The payment was captured at the provider: a person decides", "payment-method")
            await self._void_challenge()
            result = await self._attempt(command)
            self._woken = True
            self._check_live("payment-method", unless=RetryState.PAID)
            if self._ended is not None:
                return CommandResponse(status=200)
            if self._challenge is not None:
                return CommandResponse(status=202)
            if result is not None and result.invalid:
                raise PaymentMethodInvalid(
                    errors=[{"pointer": "/method", "detail": "is not a usable payment method"}],
                )
            code = result.decline_code if result is not None else None
            raise PaymentDeclined(decline_code=code, order_id=self._begin.order_id)

    @workflow.update
    @recorded
    async def try_now(self, request: RetryCommand = NO_INITIATOR) -> RetryState:
        """Attempts the order's own method at once. Raises InvalidTransition where that is not possible."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("try-now", unless=RetryState.PAID)
            if self._ended is not None:
                return self._state
            if self._snapshot.retry_advice is RetryAdvice.NEVER:
                raise self._not_possible(f"The card must not be tried again ({self._snapshot.decline_code})", "try-now")
            if not self._snapshot.has_method:
                raise self._not_possible("The order has no saved method: only its buyer can pay", "try-now")
            if self._challenge is not None:
                raise self._not_possible("The buyer is at the bank", "try-now")
            await self._attempt(None)
            self._woken = True
            return self._state

    @workflow.update
    @recorded
    async def extend(self, request: RetryCommand = NO_INITIATOR) -> RetryState:
        """Extends the schedule by a week, with one more attempt at its end. Raises InvalidTransition."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("extend")
            if self._snapshot.extensions >= EXTENSIONS:
                raise self._not_possible(f"It has been extended {EXTENSIONS} times already", "extend")
            self._update_snapshot(extensions=self._snapshot.extensions + 1)
            if self._challenge is None:
                await self._record_schedule()
            self._woken = True
            return self._state

    @workflow.update
    @recorded
    async def give_up(self, request: RetryCommand = NO_INITIATOR) -> RetryState:
        """Gives up: cancels what has not shipped of the order. Raises InvalidTransition."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("give-up", unless=RetryState.GAVE_UP)
            if self._ended is not None:
                return self._state
            await self._void_challenge()
            self._finish(await self._cancel_order(request.actor))
            return self._state

    def _check_live(self, requested: str, *, unless: RetryState | None = None) -> None:
        if self._ended is not None and self._ended.state is not unless:
            state = str(self._ended.status)
            raise InvalidTransition(f"The order is {state}: no payment is awaited", state=state, requested=requested)

    def _not_possible(self, why: str, requested: str) -> InvalidTransition:
        return InvalidTransition(why, state=str(self._snapshot.status), requested=requested)

    @property
    def _state(self) -> RetryState:
        return self._ended.state if self._ended else RetryState.RETRYING

    # The retry schedule

    async def _start_or_resume(self) -> None:
        """Loads all state from the database, so a restarted execution resumes where the last one ended."""
        if await self._load_order():
            await self._void_failed_payment()
        await self._resume_open_attempt()
        if self._ended is not None:
            return
        if self._challenge is None:
            await self._record_schedule()
        elif self._challenge.expires_at is None:
            await self._require_action(self._challenge, AttemptRequest())

    async def _load_order(self) -> bool:
        """Loads the order. Returns whether it still waits for its payment."""
        snapshot = await self._load()
        if not self._ready:
            self._snapshot, self._challenge = snapshot, snapshot.challenged
        self._update_snapshot(open_attempt=snapshot.open_attempt)
        self._attempts = max(self._attempts, snapshot.attempts)
        if snapshot.state is not RetryState.RETRYING:
            await self._void_challenge()
            self._finish(RetryEnded(state=snapshot.state, status=snapshot.status))
        return self._ended is None

    async def _resume_open_attempt(self) -> None:
        """Finishes an attempt of an earlier execution, or of a command that was lost with its worker."""
        charge = self._snapshot.open_attempt
        if charge is not None and self._ended is None:
            self._update_snapshot(open_attempt=None)
            result = await self._charge(charge)
            await self._record_result(charge, result, own=charge.off_session)

    async def _has_failed_again(self) -> bool:
        """Whether the paid order's next capture was declined while this run was ending: the next run retries it."""
        return (await self._load()).state is RetryState.RETRYING

    async def _load(self) -> RetrySnapshot:
        return await workflow.execute_local_activity_method(
            PaymentRetries.begin_payment_retry,
            BeginRetry(order_id=self._begin.order_id, now=workflow.now()),
            summary="load the order",
            **DATABASE,
        )

    async def _until_due(self) -> None:
        moments = [self._gives_up_at, *([self._attempt_at] if self._attempt_at else [])]
        summary = "next attempt" if self._attempt_at else "give up"
        if self._challenge is not None and self._challenge.expires_at is not None:
            poll_at = workflow.now() + timedelta(seconds=self._begin.payment_lookup_seconds)
            moments, summary = [min(self._challenge.expires_at, poll_at)], "next poll of the challenge"
        timeout = max(timedelta(), min(moments) - workflow.now())
        self._show_details()
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._woken or self._ended is not None, timeout=timeout, timeout_summary=summary
            )

    async def _run_due(self) -> None:
        """Runs what is due now: a load, a poll, an attempt, or the end."""
        if self._woken and self._ended is None:
            self._woken = False
            await self._load_order()
            await self._resume_open_attempt()
        if self._ended is not None:
            return
        if self._challenge is not None:
            await self._poll_challenge(self._challenge)
            return
        if self._attempt_at is not None and workflow.now() >= self._attempt_at:
            await self._attempt(None)
        if self._ended is None and self._challenge is None and workflow.now() >= self._gives_up_at:
            await self._give_up_when_due()

    @property
    def _attempt_at(self) -> datetime | None:
        snapshot = self._snapshot
        if snapshot.retry_advice is not RetryAdvice.RETRY or not snapshot.has_method:
            return None
        return due(snapshot.failed_at, snapshot.step, self._begin.schedule_scale, snapshot.extensions)

    @property
    def _gives_up_at(self) -> datetime:
        return given_up_at(self._snapshot.failed_at, self._begin.schedule_scale, self._snapshot.extensions)

    def _skip_missed_steps(self) -> None:
        """Skips every step that is due by now, so an execution that is late makes one attempt, not four."""
        while (moment := self._attempt_at) is not None and moment <= workflow.now():
            self._update_snapshot(step=self._snapshot.step + 1)

    def _update_snapshot(self, **changes: object) -> None:
        self._snapshot = self._snapshot.model_copy(update=changes)

    # One attempt

    async def _attempt(self, command: PayWith | None) -> AttemptResult | None:
        """Charges the order's own method, off-session, or the buyer's new one. None where there is no method."""
        self._skip_missed_steps()
        result = FAILED_AT_PROVIDER
        for _ in range(CHARGE_KEYS):
            self._attempts += 1
            planned = await workflow.execute_local_activity_method(
                PaymentRetries.plan_payment_attempt,
                PlanAttempt(
                    order_id=self._begin.order_id,
                    number=self._attempts,
                    provider=command.provider if command else None,
                    method=command.method if command else None,
                    request=command.request if command else AttemptRequest(),
                ),
                summary=f"plan attempt {self._attempts}",
                **DATABASE,
            )
            if planned.charge is None:
                self._update_snapshot(has_method=False)
                if await self._load_order():
                    await self._record_schedule(notify_about=f"{self._begin.order_id}:{self._attempts}")
                return None
            charge, result = planned.charge, await self._charge(planned.charge)
            if result.state is not ProviderPaymentStatus.ABSENT:
                break
        else:
            result = FAILED_AT_PROVIDER
        await self._record_result(charge, result, own=planned.own_method)
        return result

    async def _charge(self, charge: ChargeOrder) -> AttemptResult:
        """Charges idempotently and resolves an unknown outcome at the provider; then escalates to a manual task.

        A buyer's new method is not charged later than `payment_action_seconds` after the request: a payment that is
        absent then has failed.
        """
        if not charge.off_session and workflow.patched("payment-deadline"):
            not_after = workflow.now() + timedelta(seconds=self._begin.payment_action_seconds)
            charge = charge.model_copy(update={"not_after": not_after})
        self._show_details(
            f"Attempt {charge.number}: charging {charge.amount.amount} {charge.amount.currency} at {charge.provider}"
        )
        result = await self._undo.retry_until_resolved(
            "payment-retry-unknown",
            lambda: workflow.execute_activity_method(
                PaymentRetries.charge_order, charge, summary=f"attempt {charge.number}", **PAYMENT_LOOKUP
            ),
        )
        late = charge.not_after is not None and workflow.now() >= charge.not_after
        if result is None or (late and result.state is ProviderPaymentStatus.ABSENT):
            return FAILED_AT_PROVIDER
        return result

    async def _record_result(self, charge: ChargeOrder, result: AttemptResult, *, own: bool) -> None:
        if result.state in (ProviderPaymentStatus.AUTHORISED, ProviderPaymentStatus.CAPTURED):
            await self._accept(charge.payment_id, charge.provider, str(result.reference), charge.request)
            return
        if result.state in (ProviderPaymentStatus.REQUIRES_ACTION, ProviderPaymentStatus.PROCESSING):
            challenge = ChallengedAttempt(
                order_id=charge.order_id,
                payment_id=charge.payment_id,
                number=charge.number,
                provider=charge.provider,
                reference=str(result.reference),
            )
            if not charge.off_session:
                await self._require_action(challenge, charge.request)
                return
            await self._void(challenge)  # off-session: the buyer isn't there for a challenge
            result = AttemptResult(state=ProviderPaymentStatus.DECLINED, decline_code="authentication_required")
        await self._record_decline(result.decline_code or "generic_decline", own=own, payment_id=charge.payment_id)

    async def _accept(self, payment_id: str, provider: str, reference: str, request: AttemptRequest) -> None:
        """Records the payment of the order. If the order was cancelled meanwhile, voids the payment."""
        ended = await workflow.execute_local_activity_method(
            PaymentRetries.accept_payment,
            AcceptPayment(order_id=self._begin.order_id, payment_id=payment_id, reference=reference, request=request),
            summary="the order is paid",
            **DATABASE,
        )
        if ended.state is not RetryState.PAID:
            await self._void_until_done(provider, reference, payment_id)
        self._challenge = None
        self._finish(ended)

    async def _record_decline(self, code: str, *, own: bool, payment_id: str) -> None:
        """Records the decline. Notifies the buyer when the advice changes from `retry`: only the buyer can pay then."""
        before = self._snapshot.retry_advice
        after = strictest(before, retry_advice_of(code)) if own else before
        self._update_snapshot(decline_code=code, retry_advice=after)
        await self._record_schedule(
            notify_about=payment_id if before is RetryAdvice.RETRY and after is not RetryAdvice.RETRY else None
        )

    # Challenges

    async def _require_action(self, challenge: ChallengedAttempt, request: AttemptRequest) -> None:
        until = workflow.now() + timedelta(seconds=self._begin.payment_action_seconds)
        self._challenge = challenge.model_copy(update={"expires_at": until, "request": request})
        command = RequirePayerAction(
            order_id=challenge.order_id,
            payment_id=challenge.payment_id,
            reference=challenge.reference,
            expires_at=until,
            request=request,
        )
        self._woken |= await workflow.execute_local_activity_method(
            PaymentRetries.require_payer_action, command, summary="require the buyer's action", **DATABASE
        )

    async def _poll_challenge(self, challenge: ChallengedAttempt) -> None:
        """Polls once: accepts, declines or voids the challenged attempt, or leaves it for the next poll."""
        result = await self._retrieve(challenge)
        if result.state in (ProviderPaymentStatus.AUTHORISED, ProviderPaymentStatus.CAPTURED):
            await self._accept(challenge.payment_id, challenge.provider, challenge.reference, challenge.request)
        elif result.state in (ProviderPaymentStatus.DECLINED, ProviderPaymentStatus.CANCELLED):
            self._challenge = None
            code = result.decline_code or "authentication_required"
            await self._record_decline(code, own=False, payment_id=challenge.payment_id)
        elif challenge.expires_at is not None and workflow.now() >= challenge.expires_at:
            await self._void_challenge()
            await self._record_schedule()

    async def _retrieve(self, challenge: ChallengedAttempt) -> AttemptResult:
        try:
            return await workflow.execute_local_activity_method(
                PaymentRetries.retrieve_payment_attempt, challenge, summary="retrieve the payment", **PAYMENT_POLL
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return AttemptResult(state=ProviderPaymentStatus.PROCESSING)  # the provider is down: no change is known

    async def _void_challenge(self) -> None:
        if self._challenge is not None:
            await self._void(self._challenge)
            self._challenge = None

    async def _void(self, challenge: ChallengedAttempt) -> None:
        await self._void_until_done(challenge.provider, challenge.reference, challenge.payment_id)

    async def _void_until_done(self, provider: str, reference: str, payment_id: str | None) -> AttemptResult | None:
        release = VoidPaymentAttempt(
            order_id=self._begin.order_id, provider=provider, reference=reference, payment_id=payment_id
        )
        return await self._undo.retry_until_resolved(
            "void-payment",
            lambda: workflow.execute_activity_method(
                PaymentRetries.void_payment_attempt, release, summary="void a payment", **COMPENSATION
            ),
        )

    async def _void_failed_payment(self) -> None:
        """Voids the failed payment. Opens a manual task if the provider has captured more than our ledger."""
        if not self._snapshot.failed_reference:
            return
        self._show_details("Voiding the failed payment")
        held = await self._void_until_done(self._snapshot.provider, self._snapshot.failed_reference, None)
        if held is not None and held.captured > self._snapshot.captured:
            detail = f"captured in the ledger {self._snapshot.captured}, at the provider {held.captured}"
            task = OpenTask(kind="capture-differs", subject=self._begin.order_id, detail=detail)
            await workflow.execute_local_activity_method(Tasks.open_task, task, **DATABASE)
            self._update_snapshot(retry_advice=RetryAdvice.NEVER)
            self._captured_elsewhere = True

    # Final states

    async def _give_up_when_due(self) -> None:
        ended = await self._undo.retry_until_resolved("payment-retry", lambda: self._cancel_order(SYSTEM))
        if ended is not None:
            self._finish(ended)
        else:
            self._update_snapshot(extensions=self._snapshot.extensions + 1)  # resolved manually: time for that
            await self._record_schedule()

    async def _cancel_order(self, actor: Actor) -> RetryEnded:
        self._show_details("Giving up: cancelling what has not shipped")
        return await workflow.execute_local_activity_method(
            PaymentRetries.give_up_payment,
            GiveUpPayment(order_id=self._begin.order_id, actor=actor),
            summary="give up",
            **DATABASE,
        )

    def _finish(self, ended: RetryEnded) -> None:
        self._ended = ended
        workflow.set_current_details(f"Ended: {ended.state}; the order is {ended.status}")
        workflow.upsert_search_attributes([STATE.value_set(ended.state)])

    async def _record_schedule(self, notify_about: str | None = None) -> None:
        command = RecordRetrySchedule(
            order_id=self._begin.order_id,
            waits_for=self._waits_for,
            retry_advice=self._snapshot.retry_advice,
            decline_code=self._snapshot.decline_code,
            step=self._snapshot.step,
            extensions=self._snapshot.extensions,
            next_try_at=self._attempt_at,
            gives_up_at=self._gives_up_at,
            notify_about=notify_about,
        )
        await workflow.execute_local_activity_method(
            PaymentRetries.record_retry_schedule, command, summary="record the schedule", **DATABASE
        )

    @property
    def _waits_for(self) -> Waiting:
        if self._challenge is not None:
            return Waiting.BANK
        return Waiting.NEXT_TRY if self._attempt_at else Waiting.NEW_METHOD

    def _show_details(self, details: str | None = None) -> None:
        """What an operator reads in the Temporal UI."""
        if details is None:
            step = f"attempt {self._snapshot.step + 1} of {len(RETRY_SCHEDULE) + self._snapshot.extensions}"
            details = {
                Waiting.BANK: "Waiting for the buyer at the bank",
                Waiting.NEXT_TRY: f"Waiting for {step} at {self._attempt_at or self._gives_up_at:%Y-%m-%d %H:%M} UTC",
            }.get(self._waits_for, "Waiting for the buyer's new method")
            details += (
                f"; last decline: {self._snapshot.decline_code}; gives up at {self._gives_up_at:%Y-%m-%d %H:%M} UTC"
            )
            workflow.upsert_search_attributes([STATE.value_set(self._waits_for)])
        workflow.set_current_details(details)
