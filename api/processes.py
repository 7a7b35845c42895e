"""Temporal client of the API: starts, updates, and the answer when none comes before the deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from starlette.concurrency import run_in_threadpool
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import UpdateMethodMultiParam

from models.checkout.checkouts import BeginCheckout
from models.db.repositories.checkout import closing as checkout_closing
from models.db.repositories.orders import orders
from models.db.repositories.payments import method_saving
from models.db.session import Database
from models.delivery.stored_responses import CommandResponse, StoredResponse
from models.errors import HoldfastError, InvalidTransition, NotFound, RequestInProgress, Unavailable
from models.ids import checkout_workflow, save_payment_method_workflow
from models.payments.methods import BeginPaymentMethod, PaymentMethodState
from models.states import CheckoutStatus
from runtime.settings import Settings
from workflows import starts
from workflows.checkout import Checkout
from workflows.client import connect, with_start
from workflows.failures import refusal_in
from workflows.order import Order
from workflows.payment_retry import PaymentRetry
from workflows.save_payment_method import SavePaymentMethod
from workflows.starts import Input, Result, Start, W

Command = TypeVar("Command")
R = TypeVar("R")

log = structlog.get_logger()

EXPIRE_SECONDS = 2.0
UPDATE_RETRY_SECONDS = 0.05
UNANSWERED = "Not answered in time; it may still take effect: repeat it with the same Idempotency-Key, or read it first"


class Processes:
    def __init__(self, settings: Settings, database: Database, client: Client) -> None:
        self._settings = settings
        self._database = database
        self.client = client

    @classmethod
    async def connect(cls, settings: Settings, database: Database) -> Processes:
        """Connects lazily: the API starts without Temporal, and checkouts are 503 until it answers."""
        patience = timedelta(seconds=settings.checkout_deadline_seconds)
        client = await connect(settings, patience=patience, lazy=True)
        return cls(settings, database, client)

    async def submit(self, begin: BeginCheckout) -> CommandResponse:
        """The checkout's first response. Without one by the deadline: 503 if nothing was held, otherwise 202."""

        def submit() -> Awaitable[CommandResponse]:
            update_id = f"submit/{begin.fingerprint[:32]}"
            return self._update_with_start(starts.checkout(begin), Checkout.submit, begin.fingerprint, update_id)

        try:
            return await self._await_response(submit)
        except (Unavailable, NotFound):  # not answered in time, or the workflow was terminated meanwhile
            return await self._checkout_unanswered(begin)

    async def resume(self, checkout_id: str) -> CommandResponse:
        """Makes the workflow retrieve the payment now. Raises Unavailable, or NotFound when the workflow has ended."""
        handle: WorkflowHandle[Checkout, CheckoutStatus] = self.client.get_workflow_handle(
            checkout_workflow(checkout_id)
        )
        return await self._await_response(lambda: handle.execute_update(Checkout.resume))

    async def save_payment_method(self, begin: BeginPaymentMethod) -> CommandResponse:
        """The first response to a request to save a payment method; deadline as in `submit`."""

        def submit() -> Awaitable[CommandResponse]:
            process = starts.save_payment_method(begin)
            update_id = f"submit/{begin.fingerprint[:32]}"
            return self._update_with_start(process, SavePaymentMethod.submit, begin.fingerprint, update_id)

        try:
            return await self._await_response(submit)
        except (Unavailable, NotFound):
            return await self._saving_unanswered(begin)

    async def resume_setup(self, payment_method_id: str) -> CommandResponse:
        """Makes the workflow retrieve the set-up now. Raises Unavailable, or NotFound when the workflow has ended."""
        handle: WorkflowHandle[SavePaymentMethod, PaymentMethodState] = self.client.get_workflow_handle(
            save_payment_method_workflow(payment_method_id)
        )
        return await self._await_response(lambda: handle.execute_update(SavePaymentMethod.resume))

    async def update_order(
        self, order_id: str, update: UpdateMethodMultiParam[[Order, Command], R], command: Command, update_id: str
    ) -> R:
        """Update-with-start of the order's workflow. Raises as `_await_response`, and InvalidTransition when the
        workflow has completed.
        """
        process = starts.order(self._settings, order_id, resumed=True)
        try:
            return await self._await_response(lambda: self._update_with_start(process, update, command, update_id))
        except WorkflowAlreadyStartedError as error:
            state = await run_in_threadpool(self._status_of, order_id)
            raise InvalidTransition(f"The order is {state}: nothing more happens to it", state=state) from error

    async def update_payment_retry(
        self,
        order_id: str,
        update: UpdateMethodMultiParam[[PaymentRetry, Command], R],
        command: Command,
        update_id: str,
    ) -> R:
        """Update-with-start of the order's payment retry. Raises as `_await_response`; Unavailable does not mean that
        nothing happened.
        """
        process = starts.payment_retry(self._settings, order_id)
        return await self._await_response(lambda: self._update_with_start(process, update, command, update_id))

    def _status_of(self, order_id: str) -> str:
        with self._database.autocommit() as connection:
            stored = orders.read_order(connection, order_id)
        if stored is None:
            raise NotFound("There is no such order")
        return str(stored.order.status)

    async def _update_with_start(
        self,
        process: Start[W, Input, Result],
        update: UpdateMethodMultiParam[[W, Command], R],
        command: Command,
        update_id: str,
    ) -> R:
        operation = with_start(process)
        try:
            return await self.client.execute_update_with_start_workflow(
                update, command, start_workflow_operation=operation, id=update_id
            )
        except Exception:
            # The start operation has failed too; unless it is awaited, asyncio logs its exception.
            with contextlib.suppress(Exception):
                await operation.workflow_handle()
            raise

    async def _await_response(self, call: Callable[[], Awaitable[R]]) -> R:
        """Repeats the call until it is answered or the deadline passes. Raises the workflow's domain error, or
        Unavailable.
        """
        try:
            async with asyncio.timeout(self._settings.checkout_deadline_seconds):
                while True:
                    try:
                        return await call()
                    except RPCError as error:
                        # The server has discarded the workflow task with the update (see workflows/updates.py): the
                        # checkout ended in its first task, or a validator refused.
                        if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                            raise
                        await asyncio.sleep(UPDATE_RETRY_SECONDS)
        except WorkflowUpdateFailedError as error:
            refusal = refusal_in(error)
            raise refusal.raised() if refusal else Unavailable() from error
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise Unavailable(UNANSWERED) from error
        except RPCError as error:
            raise _domain_error(error) from error
        except RuntimeError as error:  # the SDK raises it without a connection
            raise Unavailable() from error

    async def _checkout_unanswered(self, begin: BeginCheckout) -> CommandResponse:
        """Writes a closed row under the checkout's unique key, so that it can never begin; then a 503 is true.
        Otherwise 202.
        """
        try:
            expired = await asyncio.wait_for(run_in_threadpool(self._expire_unanswered, begin), EXPIRE_SECONDS)
        except (HoldfastError, TimeoutError):
            expired = None
        log.warning("checkout_unanswered", checkout_id=begin.checkout_id, expired=expired)
        if expired:
            answer = checkout_closing.problem_response(Unavailable("Nothing was charged; try again"), begin)
        else:
            answer = StoredResponse.of(202, {"checkout_id": begin.checkout_id, "status": CheckoutStatus.PROCESSING})
        return CommandResponse(status=answer.status, body=answer.body)

    async def _saving_unanswered(self, begin: BeginPaymentMethod) -> CommandResponse:
        try:
            expired = await asyncio.wait_for(run_in_threadpool(self._expire_unanswered_saving, begin), EXPIRE_SECONDS)
        except (HoldfastError, TimeoutError):
            expired = None
        log.warning("payment_method_unanswered", payment_method_id=begin.payment_method_id, expired=expired)
        if expired:
            answer = method_saving.problem_response(Unavailable("Nothing was saved; try again"), begin)
        else:
            answer = method_saving.processing_response(begin)
        return CommandResponse(status=answer.status, body=answer.body)

    def _expire_unanswered_saving(self, begin: BeginPaymentMethod) -> bool:
        with self._database.transaction() as connection:
            return method_saving.expire_unanswered(connection, begin)

    def _expire_unanswered(self, begin: BeginCheckout) -> bool:
        with self._database.transaction() as connection:
            return checkout_closing.expire_unanswered(connection, begin)


def _domain_error(error: RPCError) -> HoldfastError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("That process has ended")
    if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:  # ten updates in flight
        return RequestInProgress("Too many requests for this at once")
    return Unavailable()
