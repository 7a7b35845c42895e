"""The door to the workflows: starts, updates, and what is told when nobody answers in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import GrpcCompression, RetryConfig, RPCError, RPCStatusCode

from models.answers import Answer, Told
from models.checkout import BeginCheckout
from models.db.repositories import checkout_closing, orders, payment_method_saving
from models.db.session import Database
from models.errors import HoldfastError, InvalidTransition, NotFound, RequestInProgress, Unavailable
from models.fulfilment import FulfilOrder
from models.ids import checkout_workflow, order_workflow, payment_retry_workflow, save_payment_method_workflow
from models.payment_methods import BeginSave, PaymentMethodState
from models.payment_retry import RetryPayment
from models.search_attributes import CART_ID, CHECKOUT_STATUS, ORDER_ID, PAYMENT_METHOD_STATE, USER_ID
from models.settings import Settings
from models.states import CheckoutStatus
from workflows import queues
from workflows.checkout import Checkout
from workflows.failures import DATA_CONVERTER, refusal_in
from workflows.order import Order
from workflows.payment_retry import PaymentRetry
from workflows.save_payment_method import SavePaymentMethod

T = TypeVar("T")

log = structlog.get_logger()

# A killed worker costs a checkout this long, not the usual ten seconds.
TASK_TIMEOUT = timedelta(seconds=5)
ABANDON_SECONDS = 2.0
ASK_AGAIN_SECONDS = 0.05
UNANSWERED = "Nobody has answered in time; it may happen yet: ask again with the same Idempotency-Key, or look first"


class Processes:
    def __init__(self, settings: Settings, database: Database, client: Client) -> None:
        self._settings = settings
        self._database = database
        self.client = client

    @classmethod
    async def connect(cls, settings: Settings, database: Database) -> Processes:
        """Lazily: the shop opens without Temporal, and checkouts are 503 until it is there."""
        client = await Client.connect(
            settings.temporal,
            namespace=settings.temporal_namespace,
            data_converter=DATA_CONVERTER,
            interceptors=[TracingInterceptor()],
            grpc_compression=GrpcCompression.NONE,
            retry_config=RetryConfig(max_elapsed_time_millis=int(settings.checkout_deadline_seconds * 1000)),
            lazy=True,
        )
        return cls(settings, database, client)

    async def submit(self, begin: BeginCheckout) -> Told:
        """The checkout's first answer; within the deadline, or 503 (nothing was held) or 202 (something may be)."""

        def submit() -> Awaitable[Told]:
            start = WithStartWorkflowOperation(
                Checkout.run,
                begin,
                id=checkout_workflow(begin.checkout_id),
                task_queue=queues.CHECKOUT,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=_attributes(
                    {CART_ID: begin.cart_id, ORDER_ID: begin.order_id, CHECKOUT_STATUS: CheckoutStatus.PROCESSING}
                ),
                static_summary=f"Checkout of {begin.cart_id}",
            )
            return self._start_and_tell(start, Checkout.submit, begin.fingerprint, f"submit/{begin.fingerprint[:32]}")

        try:
            return await self._answer(submit)
        except (Unavailable, NotFound):  # nobody in time, or the process was terminated under the waiting buyer
            return await self._give_up(begin)

    async def resume(self, checkout_id: str) -> Told:
        """Looks at the payment now. Raises Unavailable, or NotFound when the process has ended."""
        handle: WorkflowHandle[Checkout, CheckoutStatus] = self.client.get_workflow_handle(
            checkout_workflow(checkout_id)
        )
        return await self._answer(lambda: handle.execute_update(Checkout.resume))

    async def save_payment_method(self, begin: BeginSave) -> Told:
        """The first answer to somebody's wish to keep a card; else as for `submit`."""

        def submit() -> Awaitable[Told]:
            start = WithStartWorkflowOperation(
                SavePaymentMethod.run,
                begin,
                id=save_payment_method_workflow(begin.payment_method_id),
                task_queue=queues.CHECKOUT,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=_attributes(
                    {USER_ID: begin.user_id, PAYMENT_METHOD_STATE: PaymentMethodState.SAVING}
                ),
                static_summary="A card to be saved",
            )
            update_id = f"submit/{begin.fingerprint[:32]}"
            return self._start_and_tell(start, SavePaymentMethod.submit, begin.fingerprint, update_id)

        try:
            return await self._answer(submit)
        except (Unavailable, NotFound):
            return await self._give_up_saving(begin)

    async def resume_saving(self, payment_method_id: str) -> Told:
        """Looks at the set-up now. Raises Unavailable, or NotFound when the process has ended."""
        handle: WorkflowHandle[SavePaymentMethod, PaymentMethodState] = self.client.get_workflow_handle(
            save_payment_method_workflow(payment_method_id)
        )
        return await self._answer(lambda: handle.execute_update(SavePaymentMethod.resume))

    async def tell_order(self, order_id: str, update: Any, command: Any, update_id: str) -> None:
        """An update of the order's process, which is started if the outbox has not got to it yet."""

        def tell() -> Awaitable[None]:
            start = WithStartWorkflowOperation(
                Order.run,
                FulfilOrder(
                    order_id=order_id,
                    return_window_seconds=self._settings.return_window_seconds,
                    resumed=True,  # by an operator's doing it may have come further than its beginning
                ),
                id=order_workflow(order_id),
                task_queue=queues.ORDERS,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                # An order that has run its course is not begun again; one that an operator has ended is.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=_attributes({ORDER_ID: order_id}),
                static_summary="Fulfilment",
            )
            return self._start_and_tell(start, update, command, update_id)

        try:
            await self._answer(tell)
        except WorkflowAlreadyStartedError as error:
            state = await run_in_threadpool(self._status_of, order_id)
            raise InvalidTransition(f"The order is {state}: nothing more happens to it", state=state) from error

    async def tell_payment_retry(self, order_id: str, update: Any, command: Any, update_id: str) -> Any:
        """An update of the order's retries, whose process is started if the outbox has not got to it yet. As `submit`
        raises: Unavailable does not say that nothing has happened."""

        def tell() -> Awaitable[Any]:
            start = WithStartWorkflowOperation(
                PaymentRetry.run,
                RetryPayment.of(self._settings, order_id),
                id=payment_retry_workflow(order_id),
                task_queue=queues.ORDERS,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=_attributes({ORDER_ID: order_id}),
                static_summary="A payment that failed after its order was placed",
            )
            return self._start_and_tell(start, update, command, update_id)

        return await self._answer(tell)

    def _status_of(self, order_id: str) -> str:
        with self._database.reading() as connection:
            stored = orders.read_order(connection, order_id)
        if stored is None:
            raise NotFound("There is no such order")
        return str(stored.order.status)

    async def _start_and_tell(
        self, start: WithStartWorkflowOperation[Any, Any], update: Any, command: Any, update_id: str
    ) -> Any:
        try:
            return await self.client.execute_update_with_start_workflow(
                update, command, start_workflow_operation=start, id=update_id
            )
        except Exception:
            # The operation has failed too; where nobody asks it, asyncio logs that as an error of ours.
            with contextlib.suppress(Exception):
                await start.workflow_handle()
            raise

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks until there is an answer, or the deadline. Raises what the process refuses with, or Unavailable."""
        try:
            async with asyncio.timeout(self._settings.checkout_deadline_seconds):
                while True:
                    try:
                        return await ask()
                    except RPCError as error:
                        # The server has discarded the task with the update (see workflows/updates.py): that of a
                        # checkout that ended in its first one, or one in which a validator refused.
                        if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                            raise
                        await asyncio.sleep(ASK_AGAIN_SECONDS)
        except WorkflowUpdateFailedError as error:
            refusal = refusal_in(error)
            raise refusal.raised() if refusal else Unavailable() from error
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise Unavailable(UNANSWERED) from error
        except RPCError as error:
            raise _ours(error) from error
        except RuntimeError as error:  # the SDK's word for "no connection"
            raise Unavailable() from error

    async def _give_up(self, begin: BeginCheckout) -> Told:
        """The database is the judge: what has not begun never will, so a 503 is the truth."""
        try:
            gone = await asyncio.wait_for(run_in_threadpool(self._abandon, begin), ABANDON_SECONDS)
        except (HoldfastError, TimeoutError):
            gone = None
        log.warning("checkout_unanswered", checkout_id=begin.checkout_id, abandoned=gone)
        if gone:
            answer = checkout_closing.refusal_answer(Unavailable("Nothing was charged; try again"), begin)
        else:
            answer = Answer.of(202, {"checkout_id": begin.checkout_id, "status": CheckoutStatus.PROCESSING})
        return Told(status=answer.status, body=answer.body)

    async def _give_up_saving(self, begin: BeginSave) -> Told:
        try:
            gone = await asyncio.wait_for(run_in_threadpool(self._abandon_saving, begin), ABANDON_SECONDS)
        except (HoldfastError, TimeoutError):
            gone = None
        log.warning("saving_unanswered", payment_method_id=begin.payment_method_id, abandoned=gone)
        if gone:
            answer = payment_method_saving.refusal_answer(Unavailable("Nothing was saved; try again"), begin)
        else:
            answer = payment_method_saving.processing_answer(begin)
        return Told(status=answer.status, body=answer.body)

    def _abandon_saving(self, begin: BeginSave) -> bool:
        with self._database.transaction() as connection:
            return payment_method_saving.abandon(connection, begin)

    def _abandon(self, begin: BeginCheckout) -> bool:
        with self._database.transaction() as connection:
            return checkout_closing.abandon(connection, begin)


def _ours(error: RPCError) -> HoldfastError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("That process has ended")
    if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:  # ten updates in flight
        return RequestInProgress("Too many requests for this at once")
    return Unavailable()


def _attributes(values: dict[str, str]) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(name), value) for name, value in values.items()]
    )
