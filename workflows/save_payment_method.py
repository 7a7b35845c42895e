"""A card kept for later, to its final answer: saved, declined, refused or expired (see docs/accounts.md)."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.payments.methods import PaymentMethods
    from models.delivery.stored_responses import Told
    from models.errors import (
        HoldfastError,
        IdempotencyKeyReused,
        OutcomeUnknown,
        PaymentDeclined,
        ProviderUnavailable,
        Refusal,
        RequestInProgress,
        SetupExpired,
        Unavailable,
    )
    from models.payments.methods import (
        AskOwner,
        BeginSave,
        CloseSave,
        EnsureCustomer,
        FindSetup,
        PaymentMethodRef,
        PaymentMethodState,
        SaveBegun,
        SetupAt,
        SetUpMethod,
        SetupStands,
    )
    from workflows.compensation import Compensations, Unwinds
    from workflows.failures import refusal_in
    from workflows.options import COMPENSATION, DATABASE, PAYMENT, PAYMENT_GLANCE, PAYMENT_LOOKUP
    from workflows.search_attributes import PAYMENT_METHOD_STATE
    from workflows.updates import AcceptsUpdates, recorded

STATE = SearchAttributeKey.for_keyword(PAYMENT_METHOD_STATE)
SET_UP_ATTEMPTS = 3


@workflow.defn(name="SavePaymentMethod", failure_exception_types=[HoldfastError])
class SavePaymentMethod(Unwinds, AcceptsUpdates):
    @workflow.init
    def __init__(self, begin: BeginSave) -> None:
        self._begin = begin
        self._ref = PaymentMethodRef(payment_method_id=begin.payment_method_id)
        self._undo = Compensations(begin.payment_method_id)
        self._customer = ""
        self._attempt = 1
        self._begun_at = 0  # the length of the history when the first step began
        self._answer: Told | None = None  # what the owner is told as things stand
        self._final = False
        self._nudges = 0  # reasons to look at the set-up: a webhook, an owner who is back
        self._looked = 0  # of which this many have been looked into

    @workflow.run
    async def run(self, begin: BeginSave) -> PaymentMethodState:
        """Begin, set up at the provider, wait if the bank asks, keep; unwind on any refusal."""
        try:
            begun = await self._begin_saving()
            if begun.ended is not None and begun.settled is not None:
                state = self._settle(begun.ended, begun.settled)
            else:
                self._customer = await self._ensure_customer()
                await self._wait_for_the_bank(await self._set_up(begun))
                state = self._settle(PaymentMethodState.SAVED, await self._keep())
        except (FailureError, HoldfastError, asyncio.CancelledError) as error:
            state = await self._refuse(refusal_in(error) or Refusal.of(Unavailable()))
        await self._updates_recorded()
        return state

    # What others say to it

    @workflow.update
    @recorded
    async def submit(self, fingerprint: str) -> Told:
        """The owner's wish: the first answer there is. A repeated one joins what runs."""
        await workflow.wait_condition(lambda: self._answer is not None)
        assert self._answer is not None
        return self._answer

    @submit.validator
    def _same_body(self, fingerprint: str) -> None:
        if fingerprint != self._begin.fingerprint:
            raise IdempotencyKeyReused()

    @workflow.update
    @recorded
    async def resume(self) -> Told:
        """The owner is back from the bank: looks at once, and says how things stand."""
        self._nudges += 1
        mine = self._nudges
        await workflow.wait_condition(lambda: self._final or self._looked >= mine)
        assert self._answer is not None
        return self._answer

    @resume.validator
    def _can_resume(self) -> None:
        if self._answer is None:
            raise RequestInProgress()

    @workflow.signal
    def setup_changed(self) -> None:
        """The provider says that something happened to this set-up."""
        self._nudges += 1

    # The steps

    async def _begin_saving(self) -> SaveBegun:
        workflow.set_current_details("Beginning")
        self._begun_at = workflow.info().get_current_history_length()
        return await workflow.execute_local_activity_method(
            PaymentMethods.begin_payment_method, self._begin, summary="begin", **DATABASE
        )

    async def _ensure_customer(self, gone: str | None = None) -> str:
        """Repeated, it gives the same; so what is unknown is simply tried for longer."""
        command = EnsureCustomer(
            user_id=self._begin.user_id,
            provider=self._begin.provider,
            not_before=workflow.info().start_time,
            gone=gone,
        )
        try:
            return await workflow.execute_local_activity_method(
                PaymentMethods.ensure_payment_customer, command, summary="customer at the provider", **PAYMENT
            )
        except FailureError as error:
            if self._certain(error) or is_cancelled_exception(error):
                raise
        workflow.set_current_details("The provider does not answer: trying for its customer")
        return await workflow.execute_activity_method(
            PaymentMethods.ensure_payment_customer, command, summary="customer at the provider", **PAYMENT_LOOKUP
        )

    def _certain(self, error: FailureError) -> bool:
        refusal = refusal_in(error)
        return refusal is not None and refusal.error != OutcomeUnknown.__name__

    async def _set_up(self, begun: SaveBegun) -> SetupStands:
        """One bounded call; an unknown outcome is looked up, and only a certain absence allows another key."""
        for self._attempt in range(1, SET_UP_ATTEMPTS + 1):
            workflow.set_current_details(f"Setting up at the provider, attempt {self._attempt}")
            setup = await self._ask_provider(begun)
            if setup.state not in (SetupAt.ABSENT, SetupAt.NO_CUSTOMER):
                break
            self._undo.drop()
            if setup.state is SetupAt.NO_CUSTOMER:
                self._customer = await self._ensure_customer(gone=self._customer)
        else:
            raise ProviderUnavailable()
        self._undo.drop()
        if setup.state is SetupAt.DECLINED:
            raise PaymentDeclined(decline_code=setup.decline_code)
        self._push_undo(setup.reference)
        return setup

    async def _ask_provider(self, begun: SaveBegun) -> SetupStands:
        """One call beside our own task; whatever that leaves open is for an activity that looks before it asks.

        As in Checkout: a failure is certain only in the very workflow task that began, for the first time.
        """
        command = SetUpMethod(
            payment_method_id=self._begin.payment_method_id,
            user_id=self._begin.user_id,
            provider=self._begin.provider,
            customer=self._customer,
            method=self._begin.method,
            attempt=self._attempt,
        )
        if self._attempt == 1 and not begun.repeated:
            try:
                return await workflow.execute_local_activity_method(
                    PaymentMethods.set_up_payment_method, command, summary="set up", **PAYMENT
                )
            except FailureError as error:
                first = workflow.info().get_current_history_length() == self._begun_at
                if self._certain(error) and first:
                    raise  # certain: nothing to undo at the provider
                if is_cancelled_exception(error):
                    self._push_undo()
                    raise
        self._push_undo()
        workflow.set_current_details("Outcome unknown: asking the provider")
        return await workflow.execute_activity_method(
            PaymentMethods.settle_payment_method, command, summary="settle unknown outcome", **PAYMENT_LOOKUP
        )

    def _find(self, reference: str | None) -> FindSetup:
        return FindSetup(
            payment_method_id=self._begin.payment_method_id,
            user_id=self._begin.user_id,
            provider=self._begin.provider,
            customer=self._customer,
            attempt=self._attempt,
            reference=reference,
        )

    def _push_undo(self, reference: str | None = None) -> None:
        find = self._find(reference)
        self._undo.push(
            "undo-payment-method",
            lambda: workflow.execute_activity_method(
                PaymentMethods.undo_payment_method, find, summary="undo the set-up", **COMPENSATION
            ),
        )

    async def _wait_for_the_bank(self, setup: SetupStands) -> None:
        """Until the set-up is decided: a webhook, the owner's return, a look at intervals, or expiry."""
        if setup.state is SetupAt.SUCCEEDED:
            return
        deadline = workflow.now() + timedelta(seconds=self._begin.payment_action_seconds)
        if setup.state is SetupAt.REQUIRES_ACTION and await self._ask_owner(deadline):
            self._nudges += 1
        while workflow.now() < deadline:
            look_interval = timedelta(seconds=self._begin.payment_lookup_seconds)
            await self._nudged_or(min(deadline - workflow.now(), look_interval))
            seen = self._nudges
            if self._decided(await self._look(setup)):
                return
            self._looked = seen  # only now: whoever asked is told the end where there is one
        await self._expire(setup)

    def _decided(self, setup: SetupStands) -> bool:
        if setup.state in (SetupAt.DECLINED, SetupAt.CANCELLED):
            raise PaymentDeclined(decline_code=setup.decline_code or "authentication_required")
        return setup.state is SetupAt.SUCCEEDED

    async def _ask_owner(self, deadline: datetime) -> bool:
        """Records and answers `requires_action`; true if the provider has said more in the meantime."""
        asked = await workflow.execute_local_activity_method(
            PaymentMethods.ask_card_owner,
            AskOwner(payment_method_id=self._begin.payment_method_id, expires_at=deadline),
            summary="ask the owner to authenticate",
            **DATABASE,
        )
        self._answer = asked.answer
        workflow.set_current_details(f"Waiting for the owner at the bank until {deadline:%H:%M:%S} UTC")
        workflow.upsert_search_attributes([STATE.value_set(PaymentMethodState.REQUIRES_ACTION)])
        return asked.news

    async def _nudged_or(self, patience: timedelta) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._nudges > self._looked, timeout=patience, timeout_summary="next look at the set-up"
            )

    async def _look(self, setup: SetupStands) -> SetupStands:
        try:
            return await workflow.execute_local_activity_method(
                PaymentMethods.look_up_payment_method,
                self._find(setup.reference),
                summary="look at the set-up",
                **PAYMENT_GLANCE,
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return setup  # the provider is down: as far as we know nothing has changed

    async def _expire(self, setup: SetupStands) -> None:
        """The provider first: only what it has cancelled is expired. If it turns out done, the card is kept."""
        workflow.set_current_details("Out of time: cancelling at the provider")
        cancelled = await workflow.execute_activity_method(
            PaymentMethods.cancel_payment_method,
            self._find(setup.reference),
            summary="cancel expired set-up",
            **COMPENSATION,
        )
        if cancelled.state is SetupAt.CANCELLED:
            raise SetupExpired()

    async def _keep(self) -> Told:
        workflow.set_current_details("Keeping the card")
        return await workflow.execute_local_activity_method(
            PaymentMethods.keep_payment_method, self._ref, summary="keep", **DATABASE
        )

    # The ends

    def _settle(self, state: PaymentMethodState, answer: Told) -> PaymentMethodState:
        self._answer = answer
        self._final = True
        workflow.set_current_details(f"Done: {state}")
        workflow.upsert_search_attributes([STATE.value_set(state)])
        return state

    async def _refuse(self, refusal: Refusal) -> PaymentMethodState:
        """Unwinds at the provider, shielded from cancellation; then the answer."""
        workflow.set_current_details(f"Unwinding: {refusal.error}, {refusal.detail}")
        await self._undo.unwind()
        answer = await asyncio.shield(
            workflow.execute_local_activity_method(
                PaymentMethods.close_payment_method,
                CloseSave(begin=self._begin, refusal=refusal),
                summary=f"close: {refusal.error}",
                **DATABASE,
            )
        )
        state = self._settle(PaymentMethodState.FAILED, answer)
        workflow.set_current_details(f"Ended {state}: {refusal.error}, {refusal.detail}")
        return state
