"""What the outbox tells of payments that failed after their order was placed: their processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from models.db.repositories import order_commands, payment_retry
from models.db.repositories.outbox import Message
from models.ids import payment_retry_workflow
from models.payment_retry import RetryPayment, Waiting
from models.search_attributes import ORDER_ID, PAYMENT_RETRY_STATE
from models.settings import Settings
from workflows import queues
from workflows.payment_retry import PaymentRetry

TASK_TIMEOUT = timedelta(seconds=5)

Listener = Callable[[Message], Awaitable[None]]


class PaymentNews:
    """Every listener knows a repeat. `cancelled`: what else hears of a cancelled order."""

    def __init__(self, settings: Settings, client: Client, *, cancelled: Listener) -> None:
        self._settings = settings
        self._client = client
        self._cancelled = cancelled

    @property
    def listeners(self) -> Mapping[str, Listener]:
        return {
            payment_retry.FAILED: self.start,
            payment_retry.CHANGED: self.tell,
            order_commands.CANCELLED: self.order_cancelled,
        }

    async def start(self, message: Message) -> None:
        await start_payment_retry(self._client, self._settings, message.data["order_id"])

    async def tell(self, message: Message) -> None:
        handle = self._client.get_workflow_handle(payment_retry_workflow(message.data["order_id"]))
        try:
            await handle.signal("changed")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # nothing of it is being retried
                raise

    async def order_cancelled(self, message: Message) -> None:
        await self._cancelled(message)
        await self.tell(message)


async def start_payment_retry(client: Client, settings: Settings, order_id: str) -> None:
    """Once: one that runs is told to look, which is also how one that is just ending learns that it goes on."""
    attributes = {ORDER_ID: order_id, PAYMENT_RETRY_STATE: Waiting.PROVIDER}
    await client.start_workflow(
        PaymentRetry.run,
        RetryPayment.of(settings, order_id),
        id=payment_retry_workflow(order_id),
        task_queue=queues.ORDERS,
        task_timeout=TASK_TIMEOUT,
        start_signal="changed",
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,  # an order's payment can fail twice
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(SearchAttributeKey.for_keyword(name), value) for name, value in attributes.items()]
        ),
        static_summary="A payment that failed after its order was placed",
    )
