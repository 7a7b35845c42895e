"""What Checkout and SavePaymentMethod share: a request at a provider that the person who made it waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from models.checkout.checkouts import BeginCheckout
    from models.delivery.stored_responses import CommandResponse
    from models.errors import HoldfastError, IdempotencyKeyReused, RequestInProgress
    from models.payments.methods import BeginPaymentMethod
    from workflows.compensation import CompensatingWorkflow
    from workflows.failures import is_known
    from workflows.updates import AcceptsUpdates, recorded

DEADLINE = "payment-deadline"  # patch: nothing is authorised after payment_action_seconds

Result = TypeVar("Result")


class Submission(CompensatingWorkflow, AcceptsUpdates):
    _begin: BeginCheckout | BeginPaymentMethod
    _attempt = 1
    _first_step_at = 0  # the length of the history when the first step began
    _response: CommandResponse | None = None  # the present answer to `submit` and `resume`
    _final = False
    _wake_ups = 0  # reasons to poll the provider: a webhook, a returning person
    _handled = 0  # how many of them a poll has followed
    _unresolved = False  # whether the deadline passed without a certain outcome

    @property
    def _deadline(self) -> datetime:
        """Of the person's request: nothing is authorised or saved after it."""
        return workflow.info().start_time + timedelta(seconds=self._begin.payment_action_seconds)

    @property
    def _late(self) -> bool:
        """Whether the deadline has passed. A request without a delay has no marker of the patch in its history."""
        return workflow.now() >= self._deadline and workflow.patched(DEADLINE)

    async def _result_by_deadline(self, activity: Awaitable[Result], expired: type[HoldfastError]) -> Result:
        """The result of an activity that ends with the deadline. Raises `expired` if it has failed by then: its outcome
        is unresolved, and the compensation goes on."""
        try:
            return await activity
        except FailureError as error:
            if is_cancelled_exception(error) or not self._late:
                raise
            self._unresolved = True
            raise expired() from error

    @workflow.update
    @recorded
    async def submit(self, fingerprint: str) -> CommandResponse:
        """Returns the first response: final, or `requires_action`. A repeated submission joins the running one."""
        await workflow.wait_condition(lambda: self._response is not None)
        assert self._response is not None
        return self._response

    @submit.validator
    def _same_body(self, fingerprint: str) -> None:
        if fingerprint != self._begin.fingerprint:
            raise IdempotencyKeyReused()

    @workflow.update
    @recorded
    async def resume(self) -> CommandResponse:
        """The person has returned from the next action: polls the provider at once and returns the response."""
        self._wake_ups += 1
        mine = self._wake_ups
        await workflow.wait_condition(lambda: self._final or self._handled >= mine)
        assert self._response is not None
        return self._response

    @resume.validator
    def _can_resume(self) -> None:
        if self._response is None:
            raise RequestInProgress()

    async def _wait_for_poll(self, left: timedelta) -> int:
        """Waits for a wake-up, for the next poll or for the end of the time `left`; returns the wake-ups so far."""
        interval = timedelta(seconds=self._begin.payment_lookup_seconds)
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._wake_ups > self._handled, timeout=min(left, interval), timeout_summary="next poll"
            )
        return self._wake_ups

    def _certain(self, error: FailureError) -> bool:
        """Whether nothing was done at the provider.

        A local activity whose worker dies is run again, and then "not reached" no longer means "not done". So a
        failure is certain only in the workflow task that did the first step for the first time.
        """
        return is_known(error) and workflow.info().get_current_history_length() == self._first_step_at
