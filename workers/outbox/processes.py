"""The consumer `processes`: starts and signals workflows. A start is idempotent by the workflow's id."""

from __future__ import annotations

from models import ids, topics
from models.checkout.checkouts import CheckoutRef
from models.delivery.tasks import TaskResolved
from models.payments.methods import PaymentMethodRef
from models.payments.refunds import FoundRefund
from models.topics import (
    OrderConfirmed,
    OrderRef,
    RefundChanged,
    RefundFound,
    ReturnChanged,
    ShipmentChanged,
    TaskResolution,
)
from workers.outbox.consumers import Context
from workers.outbox.relay import Handlers, on
from workflows import queues, starts
from workflows.checkout import Checkout
from workflows.client import signal, start
from workflows.order import Order
from workflows.payment_retry import PaymentRetry
from workflows.refund import Refund
from workflows.return_ import Return
from workflows.save_payment_method import SavePaymentMethod
from workflows.shipment import Shipment

QUEUE = queues.ORDERS


def handlers(context: Context) -> Handlers:
    processes = Processes(context)
    return dict(
        [
            on(topics.ORDER_CONFIRMED, processes.start_order),
            on(topics.ORDER_CHANGED, processes.signal_order),
            on(topics.ORDER_DELIVERED, processes.signal_order),
            on(topics.ORDER_CANCELLED, processes.cancel_order),
            on(topics.SHIPMENT_CREATED, processes.start_shipment),
            on(topics.SHIPMENT_CHANGED, processes.start_shipment),
            on(topics.PAYMENT_CHANGED, processes.signal_checkout),
            on(topics.PAYMENT_FAILED, processes.start_payment_retry),
            on(topics.PAYMENT_RETRY_CHANGED, processes.signal_payment_retry),
            on(topics.PAYMENT_METHOD_CHANGED, processes.signal_payment_method),
            on(topics.PAYMENT_METHOD_REMOVED, processes.remove_payment_method),
            on(topics.REFUND_REQUESTED, processes.start_refund),
            on(topics.REFUND_CHANGED, processes.signal_refund),
            on(topics.REFUND_FOUND, processes.adopt_refund),
            on(topics.RETURN_REQUESTED, processes.start_return),
            on(topics.RETURN_CHANGED, processes.signal_return),
            on(topics.TASK_RESOLVED, processes.resolve_task),
        ]
    )


class Processes:
    """A signal to a workflow that has ended is dropped: it has nothing left to do, or loads the fact at its restart."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._client = context.client

    async def start_order(self, event: OrderConfirmed) -> None:
        await start(self._client, starts.order(self._settings, event.order_id, resumed=event.resumed))

    async def signal_order(self, event: OrderRef) -> None:
        await signal(self._client, ids.order_workflow(event.order_id), Order.changed)

    async def cancel_order(self, event: OrderRef) -> None:
        await self.signal_order(event)
        await self.signal_payment_retry(event)

    async def start_shipment(self, event: ShipmentChanged) -> None:
        """Starts also a workflow that an operator has terminated."""
        process = starts.shipment(self._settings, event.order_id, event.shipment_id)
        await start(self._client, process, signal=Shipment.changed)

    async def signal_checkout(self, event: CheckoutRef) -> None:
        await signal(self._client, ids.checkout_workflow(event.checkout_id), Checkout.payment_changed)

    async def start_payment_retry(self, event: OrderRef) -> None:
        """The signal reaches also a workflow that is about to end, and makes it continue."""
        await start(self._client, starts.payment_retry(self._settings, event.order_id), signal=PaymentRetry.changed)

    async def signal_payment_retry(self, event: OrderRef) -> None:
        await signal(self._client, ids.payment_retry_workflow(event.order_id), PaymentRetry.changed)

    async def signal_payment_method(self, event: PaymentMethodRef) -> None:
        workflow_id = ids.save_payment_method_workflow(event.payment_method_id)
        await signal(self._client, workflow_id, SavePaymentMethod.setup_changed)

    async def remove_payment_method(self, event: PaymentMethodRef) -> None:
        await start(self._client, starts.remove_payment_method(event.payment_method_id))

    async def start_refund(self, event: RefundChanged) -> None:
        await start(self._client, starts.refund(event.order_id, event.refund_id))

    async def signal_refund(self, event: RefundChanged) -> None:
        """Starts also a workflow that has ended: a bank may send money back."""
        await start(self._client, starts.refund(event.order_id, event.refund_id), signal=Refund.changed)

    async def adopt_refund(self, event: RefundFound) -> None:
        """Starts the workflow of a refund that was made at the provider by hand."""
        found = FoundRefund.model_validate(event.model_dump())
        await start(self._client, starts.refund(event.order_id, event.refund_id, found), signal=Refund.changed)

    async def start_return(self, event: ReturnChanged) -> None:
        await start(self._client, starts.return_(event.order_id, event.return_id))

    async def signal_return(self, event: ReturnChanged) -> None:
        await signal(self._client, ids.return_workflow(event.return_id), Return.changed)

    async def resolve_task(self, event: TaskResolution) -> None:
        resolved = TaskResolved(outcome=event.outcome, task_id=event.task_id)
        await signal(self._client, event.workflow_id, "resolve_task", resolved)
