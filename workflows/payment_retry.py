"""A payment that failed after its order was placed: tried again on a ladder of days, until it is paid or given up.

Which refusals are tried again, and when, is in models/payments/dunning.py; what people see of it
in docs/payment-retry.md.
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
    from models.delivery.stored_responses import Told
    from models.delivery.tasks import OpenTask
    from models.errors import HoldfastError, InvalidTransition, PaymentDeclined, PaymentMethodInvalid
    from models.orders.orders import SYSTEM, Actor
    from models.payments.dunning import EXTENSIONS, LADDER, Verdict, due, given_up_at, verdict, worst
    from models.payments.provider import PaymentAt
    from models.payments.retry import (
        AcceptPayment,
        Asked,
        AskPayer,
        BankTry,
        BeginRetry,
        ChargeOrder,
        GiveUp,
        NoteLadder,
        PayWith,
        PlanTry,
        ReleaseTry,
        RetryEnded,
        RetryPayment,
        RetryStands,
        RetryState,
        Steer,
        TryStands,
        Waiting,
    )
    from models.states import OrderStatus
    from workflows.compensation import Compensations, Unwinds
    from workflows.options import COMPENSATION, DATABASE, PAYMENT_GLANCE, PAYMENT_LOOKUP
    from workflows.search_attributes import PAYMENT_RETRY_STATE
    from workflows.updates import AcceptsUpdates, recorded

STATE = SearchAttributeKey.for_keyword(PAYMENT_RETRY_STATE)
CHARGE_KEYS = 3
NOBODY = Steer()
FAILED_THERE = TryStands(state=PaymentAt.DECLINED, decline_code="processing_error")


@workflow.defn(name="PaymentRetry", failure_exception_types=[HoldfastError])
class PaymentRetry(Unwinds, AcceptsUpdates):
    @workflow.init
    def __init__(self, begin: RetryPayment) -> None:
        self._begin = begin
        self._undo = Compensations(begin.order_id)
        self._charging = asyncio.Lock()  # one try at a time
        self._stands = RetryStands(
            state=RetryState.RETRYING, status=OrderStatus.PAYMENT_RETRYING, failed_at=workflow.now()
        )
        self._bank: BankTry | None = None
        self._tries = 0
        self._ready = False
        self._news = False  # a reason to look: a webhook, a person's word, a changed order
        self._ended: RetryEnded | None = None

    @workflow.run
    async def run(self, begin: RetryPayment) -> RetryState:
        """Let go of the payment that failed; climb the ladder; end with the order paid, cancelled or given up."""
        async with self._charging:
            await self._begin_or_go_on()
            self._ready = True
        while self._ended is None:
            await self._until_due()
            if workflow.info().is_continue_as_new_suggested():
                await self._updates_recorded()
                workflow.continue_as_new(begin)
            async with self._charging:
                await self._act()
        await self._updates_recorded()
        if self._news and await self._has_failed_again():
            workflow.continue_as_new(begin)
        return self._ended.state

    # What others say to it

    @workflow.signal
    def changed(self) -> None:
        """Something has happened to the order, or to the payment at its provider."""
        self._news = True

    @workflow.update
    @recorded
    async def pay(self, command: PayWith) -> Told:
        """A new method, tried at once: 200 paid, 202 the bank wants to see the buyer. Raises PaymentDeclined (the
        ladder goes on), PaymentMethodInvalid, NotFound, InvalidTransition."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("payment-method")
            await self._let_go_of_bank()
            stands = await self._try(command)
            self._news = True
            self._check_live("payment-method", unless=RetryState.PAID)
            if self._ended is not None:
                return Told(status=200)
            if self._bank is not None:
                return Told(status=202)
            if stands is not None and stands.invalid:
                raise PaymentMethodInvalid(
                    errors=[{"pointer": "/method", "detail": "is not a usable payment method"}],
                )
            code = stands.decline_code if stands is not None else None
            raise PaymentDeclined(decline_code=code, order_id=self._begin.order_id)

    @workflow.update
    @recorded
    async def try_now(self, steer: Steer = NOBODY) -> RetryState:
        """Support has reason to think that the order's own method works now."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("try-now", unless=RetryState.PAID)
            if self._ended is not None:
                return self._state
            if self._stands.verdict is Verdict.NEVER:
                raise self._not_possible(f"The card must not be tried again ({self._stands.decline_code})", "try-now")
            if not self._stands.has_method:
                raise self._not_possible("The order has no saved method: only its buyer can pay", "try-now")
            if self._bank is not None:
                raise self._not_possible("The buyer is at the bank", "try-now")
            await self._try(None)
            self._news = True
            return self._state

    @workflow.update
    @recorded
    async def extend(self, steer: Steer = NOBODY) -> RetryState:
        """A week more, with one more try at its end."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("extend")
            if self._stands.extensions >= EXTENSIONS:
                raise self._not_possible(f"It has been extended {EXTENSIONS} times already", "extend")
            self._set(extensions=self._stands.extensions + 1)
            if self._bank is None:
                await self._note()
            self._news = True
            return self._state

    @workflow.update
    @recorded
    async def give_up(self, steer: Steer = NOBODY) -> RetryState:
        """Nobody will pay: the order, or what is left of it, is cancelled now."""
        await workflow.wait_condition(lambda: self._ready)
        async with self._charging:
            self._check_live("give-up", unless=RetryState.GAVE_UP)
            if self._ended is not None:
                return self._state
            await self._let_go_of_bank()
            self._end(await self._cancel_order(steer.actor))
            return self._state

    def _check_live(self, requested: str, *, unless: RetryState | None = None) -> None:
        if self._ended is not None and self._ended.state is not unless:
            state = str(self._ended.status)
            raise InvalidTransition(f"The order is {state}: no payment is awaited", state=state, requested=requested)

    def _not_possible(self, why: str, requested: str) -> InvalidTransition:
        return InvalidTransition(why, state=str(self._stands.status), requested=requested)

    @property
    def _state(self) -> RetryState:
        return self._ended.state if self._ended else RetryState.RETRYING

    # The ladder

    async def _begin_or_go_on(self) -> None:
        """Everything is in the database: an execution that was terminated is begun again where it stood."""
        if await self._look_at_order():
            await self._let_go_of_failed()
        await self._go_on_with_open_try()
        if self._ended is not None:
            return
        if self._bank is None:
            await self._note()
        elif self._bank.until is None:
            await self._ask(self._bank, Asked())

    async def _look_at_order(self) -> bool:
        """Whether it still waits for its payment."""
        stands = await self._read()
        if not self._ready:
            self._stands, self._bank = stands, stands.at_bank
        self._set(open_try=stands.open_try)
        self._tries = max(self._tries, stands.tries)
        if stands.state is not RetryState.RETRYING:
            await self._let_go_of_bank()
            self._end(RetryEnded(state=stands.state, status=stands.status))
        return self._ended is None

    async def _go_on_with_open_try(self) -> None:
        """Begun by an execution before this one, or by a command that was lost with its worker."""
        charge = self._stands.open_try
        if charge is not None and self._ended is None:
            self._set(open_try=None)
            stands = await self._charge(charge)
            await self._settle(charge, stands, own=charge.off_session)

    async def _has_failed_again(self) -> bool:
        """Paid, shipped on, and refused anew while this one was ending: the next ladder is the next run's."""
        return (await self._read()).state is RetryState.RETRYING

    async def _read(self) -> RetryStands:
        return await workflow.execute_local_activity_method(
            PaymentRetries.begin_payment_retry,
            BeginRetry(order_id=self._begin.order_id, now=workflow.now()),
            summary="look at the order",
            **DATABASE,
        )

    async def _until_due(self) -> None:
        moments = [self._gives_up_at, *([self._next_try_at] if self._next_try_at else [])]
        summary = "next try" if self._next_try_at else "given up"
        if self._bank is not None and self._bank.until is not None:
            look = workflow.now() + timedelta(seconds=self._begin.payment_lookup_seconds)
            moments, summary = [min(self._bank.until, look)], "next look at the bank"
        patience = max(timedelta(), min(moments) - workflow.now())
        self._show()
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._news or self._ended is not None, timeout=patience, timeout_summary=summary
            )

    async def _act(self) -> None:
        """Whatever is due now."""
        if self._news and self._ended is None:
            self._news = False
            await self._look_at_order()
            await self._go_on_with_open_try()
        if self._ended is not None:
            return
        if self._bank is not None:
            await self._look_at_bank(self._bank)
            return
        if self._next_try_at is not None and workflow.now() >= self._next_try_at:
            await self._try(None)
        if self._ended is None and self._bank is None and workflow.now() >= self._gives_up_at:
            await self._give_up_at_last()

    @property
    def _next_try_at(self) -> datetime | None:
        stands = self._stands
        if stands.verdict is not Verdict.RETRY or not stands.has_method:
            return None
        return due(stands.failed_at, stands.step, self._begin.ladder_scale, stands.extensions)

    @property
    def _gives_up_at(self) -> datetime:
        return given_up_at(self._stands.failed_at, self._begin.ladder_scale, self._stands.extensions)

    def _climb(self) -> None:
        """Past every step that is due by now: a process that comes late tries once, not four times."""
        while (moment := self._next_try_at) is not None and moment <= workflow.now():
            self._set(step=self._stands.step + 1)

    def _set(self, **changes: object) -> None:
        self._stands = self._stands.model_copy(update=changes)

    # One try

    async def _try(self, command: PayWith | None) -> TryStands | None:
        """Of the order's own method, off-session, or of the buyer's new one. None where there is nothing to try."""
        self._climb()
        stands = FAILED_THERE
        for _ in range(CHARGE_KEYS):
            self._tries += 1
            planned = await workflow.execute_local_activity_method(
                PaymentRetries.plan_payment_try,
                PlanTry(
                    order_id=self._begin.order_id,
                    number=self._tries,
                    provider=command.provider if command else None,
                    method=command.method if command else None,
                    asked=command.asked if command else Asked(),
                ),
                summary=f"plan try {self._tries}",
                **DATABASE,
            )
            if planned.charge is None:
                self._set(has_method=False)
                if await self._look_at_order():
                    await self._note(tell=f"{self._begin.order_id}:{self._tries}")
                return None
            charge, stands = planned.charge, await self._charge(planned.charge)
            if stands.state is not PaymentAt.ABSENT:
                break
        else:
            stands = FAILED_THERE
        await self._settle(charge, stands, own=planned.own_method)
        return stands

    async def _charge(self, charge: ChargeOrder) -> TryStands:
        """Asked, and looked up before it is asked again, until the provider says; then a person is asked."""
        self._show(f"Try {charge.number}: asking {charge.provider} for {charge.amount.amount} {charge.amount.currency}")
        stands = await self._undo.insist(
            "payment-retry-unknown",
            lambda: workflow.execute_activity_method(
                PaymentRetries.charge_order, charge, summary=f"try {charge.number}", **PAYMENT_LOOKUP
            ),
        )
        return stands or FAILED_THERE

    async def _settle(self, charge: ChargeOrder, stands: TryStands, *, own: bool) -> None:
        if stands.state in (PaymentAt.AUTHORISED, PaymentAt.CAPTURED):
            await self._accept(charge.payment_id, charge.provider, str(stands.reference), charge.asked)
            return
        if stands.state in (PaymentAt.REQUIRES_ACTION, PaymentAt.PROCESSING):
            bank = BankTry(
                order_id=charge.order_id,
                payment_id=charge.payment_id,
                number=charge.number,
                provider=charge.provider,
                reference=str(stands.reference),
            )
            if not charge.off_session:
                await self._ask(bank, charge.asked)
                return
            await self._release(bank)  # nobody is there to be seen by the bank
            stands = TryStands(state=PaymentAt.DECLINED, decline_code="authentication_required")
        await self._refused(stands.decline_code or "generic_decline", own=own, payment_id=charge.payment_id)

    async def _accept(self, payment_id: str, provider: str, reference: str, asked: Asked) -> None:
        """The order goes on. One that was cancelled meanwhile keeps none of the money."""
        ended = await workflow.execute_local_activity_method(
            PaymentRetries.accept_payment,
            AcceptPayment(order_id=self._begin.order_id, payment_id=payment_id, reference=reference, asked=asked),
            summary="the order is paid",
            **DATABASE,
        )
        if ended.state is not RetryState.PAID:
            await self._insist_on_release(provider, reference, payment_id)
        self._bank = None
        self._end(ended)

    async def _refused(self, code: str, *, own: bool, payment_id: str) -> None:
        """The buyer is told where this changes who can help."""
        before = self._stands.verdict
        after = worst(before, verdict(code)) if own else before
        self._set(decline_code=code, verdict=after)
        await self._note(tell=payment_id if before is Verdict.RETRY and after is not Verdict.RETRY else None)

    # The bank

    async def _ask(self, bank: BankTry, asked: Asked) -> None:
        until = workflow.now() + timedelta(seconds=self._begin.payment_action_seconds)
        self._bank = bank.model_copy(update={"until": until, "asked": asked})
        command = AskPayer(
            order_id=bank.order_id,
            payment_id=bank.payment_id,
            reference=bank.reference,
            expires_at=until,
            asked=asked,
        )
        self._news |= await workflow.execute_local_activity_method(
            PaymentRetries.ask_payer, command, summary="ask the buyer to authenticate", **DATABASE
        )

    async def _look_at_bank(self, bank: BankTry) -> None:
        """Decided, or out of time, or to be looked at again."""
        stands = await self._look(bank)
        if stands.state in (PaymentAt.AUTHORISED, PaymentAt.CAPTURED):
            await self._accept(bank.payment_id, bank.provider, bank.reference, bank.asked)
        elif stands.state in (PaymentAt.DECLINED, PaymentAt.CANCELLED):
            self._bank = None
            code = stands.decline_code or "authentication_required"
            await self._refused(code, own=False, payment_id=bank.payment_id)
        elif bank.until is not None and workflow.now() >= bank.until:
            await self._let_go_of_bank()
            await self._note()

    async def _look(self, bank: BankTry) -> TryStands:
        try:
            return await workflow.execute_local_activity_method(
                PaymentRetries.look_at_try, bank, summary="look at the payment", **PAYMENT_GLANCE
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return TryStands(state=PaymentAt.PROCESSING)  # the provider is down: as far as we know nothing has changed

    async def _let_go_of_bank(self) -> None:
        if self._bank is not None:
            await self._release(self._bank)
            self._bank = None

    async def _release(self, bank: BankTry) -> None:
        await self._insist_on_release(bank.provider, bank.reference, bank.payment_id)

    async def _insist_on_release(self, provider: str, reference: str, payment_id: str | None) -> TryStands | None:
        release = ReleaseTry(
            order_id=self._begin.order_id, provider=provider, reference=reference, payment_id=payment_id
        )
        return await self._undo.insist(
            "void-payment",
            lambda: workflow.execute_activity_method(
                PaymentRetries.release_try, release, summary="let go of a payment", **COMPENSATION
            ),
        )

    async def _let_go_of_failed(self) -> None:
        """The buyer's bank holds nothing for it any more. What was taken there without us is for a person to see."""
        if not self._stands.failed:
            return
        self._show("Letting go of the payment that failed")
        held = await self._insist_on_release(self._stands.provider, self._stands.failed, None)
        if held is not None and held.captured > self._stands.captured:
            detail = f"the books say {self._stands.captured}, the provider took {held.captured}"
            task = OpenTask(kind="payment-mismatch", subject=self._begin.order_id, detail=detail)
            await workflow.execute_local_activity_method(Tasks.open_task, task, **DATABASE)
            self._set(verdict=Verdict.NEVER)

    # The ends

    async def _give_up_at_last(self) -> None:
        ended = await self._undo.insist("payment-retry", lambda: self._cancel_order(SYSTEM))
        if ended is not None:
            self._end(ended)
        else:
            self._set(extensions=self._stands.extensions + 1)  # a person sees to it, in their own time
            await self._note()

    async def _cancel_order(self, actor: Actor) -> RetryEnded:
        self._show("Giving up: cancelling what has not left")
        return await workflow.execute_local_activity_method(
            PaymentRetries.give_up_payment,
            GiveUp(order_id=self._begin.order_id, actor=actor),
            summary="give up",
            **DATABASE,
        )

    def _end(self, ended: RetryEnded) -> None:
        self._ended = ended
        workflow.set_current_details(f"Ended: {ended.state}; the order is {ended.status}")
        workflow.upsert_search_attributes([STATE.value_set(ended.state)])

    async def _note(self, tell: str | None = None) -> None:
        command = NoteLadder(
            order_id=self._begin.order_id,
            waits_for=self._waits_for,
            verdict=self._stands.verdict,
            decline_code=self._stands.decline_code,
            step=self._stands.step,
            extensions=self._stands.extensions,
            next_try_at=self._next_try_at,
            gives_up_at=self._gives_up_at,
            tell=tell,
        )
        await workflow.execute_local_activity_method(
            PaymentRetries.note_ladder, command, summary="note where it stands", **DATABASE
        )

    @property
    def _waits_for(self) -> Waiting:
        if self._bank is not None:
            return Waiting.BANK
        return Waiting.NEXT_TRY if self._next_try_at else Waiting.NEW_METHOD

    def _show(self, words: str | None = None) -> None:
        """What an operator reads in the Temporal UI."""
        if words is None:
            step = f"try {self._stands.step + 1} of {len(LADDER) + self._stands.extensions}"
            words = {
                Waiting.BANK: "Waiting for the buyer at the bank",
                Waiting.NEXT_TRY: f"Waiting for {step} at {self._next_try_at or self._gives_up_at:%Y-%m-%d %H:%M} UTC",
            }.get(self._waits_for, "Waiting for the buyer's new method")
            words += f"; last refusal: {self._stands.decline_code}; given up at {self._gives_up_at:%Y-%m-%d %H:%M} UTC"
            workflow.upsert_search_attributes([STATE.value_set(self._waits_for)])
        workflow.set_current_details(words)
