"""Every topic of the outbox: its name, its payload record and its consumers.

A name is `<aggregate>.<past participle>` and permanent, because another build may deliver the row. A payload holds ids;
the handler reads the rest from the database. A new consumer needs a member of `Consumer`, an entry in its topics and
one file in `workers/outbox/`. It gets the events that processes of its build publish from then on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from models.accounts.accounts import Link, LinkState
from models.base import Record
from models.checkout.checkouts import CheckoutRef
from models.delivery.tasks import TaskOutcome
from models.orders.notices import OrderNotice
from models.payments.methods import PaymentMethodRef

P = TypeVar("P", bound=Record)


class Consumer(StrEnum):
    """Consumers are delivered to independently: a postponed message of one delays no other."""

    PROCESSES = "processes"  # starts and signals workflows
    ORDERS = "orders"  # applies to orders what providers and carriers report
    ACCOUNTS = "accounts"  # account requests and mailed links
    NOTIFICATIONS = "notifications"  # mails and text messages


class Topic(NamedTuple, Generic[P]):
    """`consumers` may be empty: an event without a consumer is not stored."""

    name: str
    payload: type[P]
    consumers: tuple[Consumer, ...] = ()


class OrderRef(Record):
    order_id: str


class OrderConfirmed(Record):
    """`resumed`: the order's workflow was lost and is restarted."""

    order_id: str
    number: str | None = None
    resumed: bool = False


class RefundChanged(Record):
    refund_id: str
    order_id: str


class RefundFound(Record):
    """A refund that was made at the provider by hand. Provider's ids: `payment`, and `reference` of the refund."""

    refund_id: str
    order_id: str
    provider: str
    reference: str
    payment: str


class ReturnChanged(Record):
    return_id: str
    order_id: str


class ShipmentChanged(Record):
    shipment_id: str
    order_id: str


class TrackingReceived(Record):
    tracking_number: str


class DisputeChanged(Record):
    provider: str
    reference: str


class TaskResolution(Record):
    task_id: str
    workflow_id: str
    outcome: TaskOutcome


class AccountRequested(Record):
    request_id: str


class LinkEnded(Record):
    workflow_id: str
    how: LinkState


class AccountNotification(Record):
    notice_id: str


class OrderNotification(Record):
    """`subject`: the id of a shipment, a refund or a command."""

    order_id: str
    kind: OrderNotice
    subject: str


class TextMessage(Record):
    order_id: str
    subject: str


class ProductChanged(Record):
    product_id: str


class PriceChanged(Record):
    sku: str


class StockChanged(Record):
    """`on_hand` or `reserved` of the SKU has changed at some location."""

    sku: str


_PROCESSES = (Consumer.PROCESSES,)
_ORDERS = (Consumer.ORDERS,)
_ACCOUNTS = (Consumer.ACCOUNTS,)
_NOTIFICATIONS = (Consumer.NOTIFICATIONS,)

ORDER_CONFIRMED = Topic("order.confirmed", OrderConfirmed, _PROCESSES)
ORDER_CHANGED = Topic("order.changed", OrderRef, _PROCESSES)
ORDER_CANCELLED = Topic("order.cancelled", OrderRef, _PROCESSES)
ORDER_DELIVERED = Topic("order.delivered", OrderRef, _PROCESSES)
SHIPMENT_CREATED = Topic("shipment.created", ShipmentChanged, _PROCESSES)
SHIPMENT_CHANGED = Topic("shipment.changed", ShipmentChanged, _PROCESSES)
TRACKING_RECEIVED = Topic("tracking.received", TrackingReceived, _ORDERS)
PAYMENT_CHANGED = Topic("payment.changed", CheckoutRef, _PROCESSES)
PAYMENT_FAILED = Topic("payment.failed", OrderRef, _PROCESSES)
PAYMENT_RETRY_CHANGED = Topic("payment_retry.changed", OrderRef, _PROCESSES)
PAYMENT_METHOD_CHANGED = Topic("payment_method.changed", PaymentMethodRef, _PROCESSES)
PAYMENT_METHOD_REMOVED = Topic("payment_method.removed", PaymentMethodRef, _PROCESSES)
REFUND_REQUESTED = Topic("refund.requested", RefundChanged, _PROCESSES)
REFUND_CHANGED = Topic("refund.changed", RefundChanged, _PROCESSES)
REFUND_FOUND = Topic("refund.found", RefundFound, _PROCESSES)
RETURN_REQUESTED = Topic("return.requested", ReturnChanged, _PROCESSES)
RETURN_CHANGED = Topic("return.changed", ReturnChanged, _PROCESSES)
DISPUTE_CHANGED = Topic("dispute.changed", DisputeChanged, _ORDERS)
TASK_RESOLVED = Topic("task.resolved", TaskResolution, _PROCESSES)
ACCOUNT_REQUESTED = Topic("account.requested", AccountRequested, _ACCOUNTS)
LINK_OPENED = Topic("link.opened", Link, _ACCOUNTS)
LINK_ENDED = Topic("link.ended", LinkEnded, _ACCOUNTS)
ACCOUNT_NOTIFICATION_REQUESTED = Topic("account_notification.requested", AccountNotification, _NOTIFICATIONS)
ORDER_NOTIFICATION_REQUESTED = Topic("order_notification.requested", OrderNotification, _NOTIFICATIONS)
TEXT_MESSAGE_REQUESTED = Topic("text_message.requested", TextMessage, _NOTIFICATIONS)
PRODUCT_CHANGED = Topic("product.changed", ProductChanged)
PRICE_CHANGED = Topic("price.changed", PriceChanged)
STOCK_CHANGED = Topic("stock.changed", StockChanged)

TOPICS = {topic.name: topic for topic in list(globals().values()) if isinstance(topic, Topic)}

RENAMED = {
    "setup.changed": PAYMENT_METHOD_CHANGED.name,
    "carrier.heard": TRACKING_RECEIVED.name,
    "account.notice": ACCOUNT_NOTIFICATION_REQUESTED.name,
    "notice.order": ORDER_NOTIFICATION_REQUESTED.name,
    "notice.sms": TEXT_MESSAGE_REQUESTED.name,
}
"""Topic names that builds before named consumers publish; such a build may still run during an upgrade."""
