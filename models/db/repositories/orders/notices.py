"""Order mails: published in the transaction of their event and sent by `workers/outbox/notifications.py`."""

from __future__ import annotations

from sqlalchemy import Connection

from models import topics
from models.db.repositories.delivery import outbox
from models.orders.notices import OrderNotice


def queue(connection: Connection, order_id: str, kind: OrderNotice, subject: str) -> None:
    """Queues one mail per kind and subject (the id of a shipment, a refund, a command); repeats send no second one.

    It has its own aggregate, so that a mail that waits for its provider does not delay the order.
    """
    event = topics.OrderNotification(order_id=order_id, kind=kind, subject=subject)
    outbox.publish(connection, topics.ORDER_NOTIFICATION_REQUESTED, f"mail/{order_id}", event)
