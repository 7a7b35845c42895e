"""Mails about an order, published with the fact and sent by `workers/outbox/notifications.py`."""

from __future__ import annotations

from sqlalchemy import Connection

from models import topics
from models.db.repositories.delivery import outbox
from models.orders.notices import OrderNotice


def queue(connection: Connection, order_id: str, kind: OrderNotice, subject: str) -> None:
    """One mail a kind and subject (the id of a shipment, a refund, a command), however often it is told.

    An aggregate of its own: a mail that has to wait for its provider does not hold up the order.
    """
    event = topics.OrderNotification(order_id=order_id, kind=kind, subject=subject)
    outbox.publish(connection, topics.ORDER_NOTIFICATION_REQUESTED, f"mail/{order_id}", event)
