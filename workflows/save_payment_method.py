"""The set-up of a saved payment method, to saved, declined, refused or expired (docs/accounts.md).

Tests: tests/api/payments/test_methods.py, tests/workflows/test_updates.py;
histories: tests/histories/SavePaymentMethod/.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.payments.methods import PaymentMethods
    from models.delivery.stored_responses import CommandResponse
    from models.errors import (
        HoldfastError,
        PaymentDeclined,
        ProviderUnavailable,
        Refusal,
        SetupExpired,
        Unavailable,
    )
    from models.payments.methods import (
        BeginPaymentMethod,
        ClosePaymentMethod,
        EnsureCustomer,
        FindSetup,
        PaymentMethodRef,
        PaymentMethodStarted,
        PaymentMethodState,
        ProviderSetupStatus,
        RequireSetupAction,
        SetUpMethod,
        SetupResult,
    )
    from workflows.compensation import Compensations
    from workflows.failures import is_known, refusal_in
    from workflows.options import COMPENSATION, DATABASE, PAYMENT, PAYMENT_LOOKUP, PAYMENT_POLL, lookup_until
    from workflows.search_attributes import PAYMENT_METHOD_STATE
    from workflows.submission import DEADLINE, Submission

STATE = SearchAttributeKey.for_keyword(PAYMENT_METHOD_STATE)
SET_UP_ATTEMPTS = 3


@workflow.defn(name="SavePaymentMethod", failure_exception_types=[HoldfastError])
class SavePaymentMethod(Submission):
    _begin: BeginPaymentMethod

    @workflow.init
    def __init__(self, begin: BeginPaymentMethod) -> None:
        self._begin = begin
        self._ref = PaymentMethodRef(payment_method_id=begin.payment_method_id)
        self._undo = Compensations(begin.payment_method_id)
        self._customer = ""

    @workflow.run
    async def run(self, begin: BeginPaymentMethod) -> PaymentMethodState:
        """Begin, set up at the provider, wait for a next action, save; run the compensations on any refusal."""
        try:
            started = await self._begin_saving()
            if started.ended is not None and started.response is not None:
                state = self._finish(started.ended, started.response)
            else:
                self._customer = await self._ensure_customer()
                await self._wait_for_setup(await self._set_up(started))
                state = self._finish(PaymentMethodState.SAVED, await self._save())
        except (FailureError, HoldfastError, asyncio.CancelledError) as error:
            state = await self._refuse(refusal_in(error) or Refusal.of(Unavailable()))
        await self._updates_recorded()
        return state

    # Signals; the updates are those of a Submission

    @workflow.signal
    def setup_changed(self) -> None:
        """Wake-up: a provider event about this set-up is stored."""
        self._wake_ups += 1

    # The steps

    async def _begin_saving(self) -> PaymentMethodStarted:
        workflow.set_current_details("Beginning")
        self._first_step_at = workflow.info().get_current_history_length()
        return await workflow.execute_local_activity_method(
            PaymentMethods.begin_payment_method, self._begin, summary="begin", **DATABASE
        )

    async def _ensure_customer(self, gone: str | None = None) -> str:
        """Ensures the provider's customer. Idempotent, so an unknown outcome is retried in a remote activity."""
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
            if is_known(error) or is_cancelled_exception(error):
                raise
        workflow.set_current_details("The provider does not answer: retrying to ensure its customer")
        bounded = workflow.patched(DEADLINE)
        try:
            return await workflow.execute_activity_method(
                PaymentMethods.ensure_payment_customer,
                command,
                summary="customer at the provider",
                **(lookup_until(self._deadline - workflow.now()) if bounded else PAYMENT_LOOKUP),
            )
        except FailureError as error:
            if is_cancelled_exception(error) or not self._late:
                raise
            raise SetupExpired() from error

    async def _set_up(self, started: PaymentMethodStarted) -> SetupResult:
        """Sets up with one bounded call per attempt. Resolves an unknown outcome at the provider.

        Only a set-up that is certainly absent allows another attempt, with another idempotency key. Raises
        SetupExpired at the deadline.
        """
        for self._attempt in range(1, SET_UP_ATTEMPTS + 1):
            if self._late:
                raise SetupExpired()
            workflow.set_current_details(f"Setting up at the provider, attempt {self._attempt}")
            setup = await self._call_provider(started)
            if setup.state not in (ProviderSetupStatus.ABSENT, ProviderSetupStatus.NO_CUSTOMER):
                break
            self._undo.drop()
            if setup.state is ProviderSetupStatus.NO_CUSTOMER:
                self._customer = await self._ensure_customer(gone=self._customer)
        else:
            raise ProviderUnavailable()
        self._undo.drop()
        if setup.state is ProviderSetupStatus.DECLINED:
            raise PaymentDeclined(decline_code=setup.decline_code)
        self._push_undo(setup.reference)
        return setup

    async def _call_provider(self, started: PaymentMethodStarted) -> SetupResult:
        """Sets up in a local activity; a remote activity resolves an unknown outcome (search, then retry)."""
        command = SetUpMethod(
            payment_method_id=self._begin.payment_method_id,
            user_id=self._begin.user_id,
            provider=self._begin.provider,
            customer=self._customer,
            method=self._begin.method,
            attempt=self._attempt,
        )
        if self._attempt == 1 and not started.repeated:
            try:
                return await workflow.execute_local_activity_method(
                    PaymentMethods.set_up_payment_method, command, summary="set up", **PAYMENT
                )
            except FailureError as error:
                if self._certain(error):
                    raise  # certain: nothing to undo at the provider
                if is_cancelled_exception(error):
                    self._push_undo()
                    raise
        self._push_undo()
        workflow.set_current_details("Outcome unknown: resolving it at the provider")
        if not workflow.patched(DEADLINE):
            return await workflow.execute_activity_method(
                PaymentMethods.resolve_setup_outcome, command, summary="resolve unknown outcome", **PAYMENT_LOOKUP
            )
        return await self._resolve(command.model_copy(update={"not_after": self._deadline}))

    async def _resolve(self, command: SetUpMethod) -> SetupResult:
        """Resolves an unknown outcome until the deadline. Raises SetupExpired if it is not resolved then, or late: the
        compensation searches on, and undoes the set-up that turns up."""
        resolving = workflow.execute_activity_method(
            PaymentMethods.resolve_setup_outcome,
            command,
            summary="resolve unknown outcome",
            **lookup_until(self._deadline - workflow.now()),
        )
        setup = await self._result_by_deadline(resolving, SetupExpired)
        if self._late and setup.state is not ProviderSetupStatus.DECLINED:
            self._unresolved = True
            raise SetupExpired()
        return setup

    def _find_command(self, reference: str | None) -> FindSetup:
        return FindSetup(
            payment_method_id=self._begin.payment_method_id,
            user_id=self._begin.user_id,
            provider=self._begin.provider,
            customer=self._customer,
            attempt=self._attempt,
            reference=reference,
        )

    def _push_undo(self, reference: str | None = None) -> None:
        find = self._find_command(reference)
        self._undo.push(
            "undo-payment-method",
            lambda: workflow.execute_activity_method(
                PaymentMethods.undo_setup, find, summary="undo the set-up", **COMPENSATION
            ),
        )

    async def _wait_for_setup(self, setup: SetupResult) -> None:
        """Polls the set-up on a webhook, on the owner's return and at intervals, until it is decided or expires.

        Raises PaymentDeclined, SetupExpired.
        """
        if setup.state is ProviderSetupStatus.SUCCEEDED:
            return
        deadline = (
            self._deadline
            if workflow.patched(DEADLINE)
            else workflow.now() + timedelta(seconds=self._begin.payment_action_seconds)
        )
        if setup.state is ProviderSetupStatus.REQUIRES_ACTION and await self._require_action(deadline):
            self._wake_ups += 1
        while workflow.now() < deadline:
            seen = await self._wait_for_poll(deadline - workflow.now())
            if self._decided(await self._retrieve(setup)):
                return
            self._handled = seen  # not before: `resume` returns the final response where there is one
        await self._expire(setup)

    def _decided(self, setup: SetupResult) -> bool:
        if setup.state in (ProviderSetupStatus.DECLINED, ProviderSetupStatus.CANCELLED):
            raise PaymentDeclined(decline_code=setup.decline_code or "authentication_required")
        return setup.state is ProviderSetupStatus.SUCCEEDED

    async def _require_action(self, deadline: datetime) -> bool:
        """Records and answers `requires_action`; true if a provider event has arrived in the meantime."""
        required = await workflow.execute_local_activity_method(
            PaymentMethods.require_setup_action,
            RequireSetupAction(payment_method_id=self._begin.payment_method_id, expires_at=deadline),
            summary="require the owner's action",
            **DATABASE,
        )
        self._response = required.response
        workflow.set_current_details(f"Waiting for the owner at the bank until {deadline:%H:%M:%S} UTC")
        workflow.upsert_search_attributes([STATE.value_set(PaymentMethodState.REQUIRES_ACTION)])
        return required.changed

    async def _retrieve(self, setup: SetupResult) -> SetupResult:
        try:
            return await workflow.execute_local_activity_method(
                PaymentMethods.retrieve_setup,
                self._find_command(setup.reference),
                summary="retrieve the set-up",
                **PAYMENT_POLL,
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return setup  # the provider is down: no change is known

    async def _expire(self, setup: SetupResult) -> None:
        """Cancels at the provider, then raises SetupExpired. Returns if the set-up turns out to have succeeded.

        A provider that is down keeps nobody longer than that: the compensation goes on cancelling.
        """
        workflow.set_current_details("Out of time: cancelling at the provider")
        cancelling = workflow.execute_activity_method(
            PaymentMethods.cancel_setup,
            self._find_command(setup.reference),
            summary="cancel expired set-up",
            **(lookup_until(timedelta()) if workflow.patched(DEADLINE) else COMPENSATION),
        )
        cancelled = await self._result_by_deadline(cancelling, SetupExpired)
        if cancelled.state is ProviderSetupStatus.CANCELLED:
            raise SetupExpired()

    async def _save(self) -> CommandResponse:
        workflow.set_current_details("Recording the saved method")
        return await workflow.execute_local_activity_method(
            PaymentMethods.record_saved_payment_method, self._ref, summary="save", **DATABASE
        )

    # Final states

    def _finish(self, state: PaymentMethodState, answer: CommandResponse) -> PaymentMethodState:
        self._response = answer
        self._final = True
        workflow.set_current_details(f"Done: {state}")
        workflow.upsert_search_attributes([STATE.value_set(state)])
        return state

    async def _refuse(self, refusal: Refusal) -> PaymentMethodState:
        """Runs the compensations, shielded from cancellation; then responds. Of an unresolved outcome the person is
        answered first: the provider may be down for hours more."""
        workflow.set_current_details(f"Unwinding: {refusal.error}, {refusal.detail}")
        if not self._unresolved:
            await self._undo.unwind()
        answer = await asyncio.shield(
            workflow.execute_local_activity_method(
                PaymentMethods.close_payment_method,
                ClosePaymentMethod(begin=self._begin, refusal=refusal),
                summary=f"close: {refusal.error}",
                **DATABASE,
            )
        )
        state = self._finish(PaymentMethodState.FAILED, answer)
        await self._undo.unwind()
        workflow.set_current_details(f"Ended {state}: {refusal.error}, {refusal.detail}")
        return state
