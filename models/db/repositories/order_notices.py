"""Mails about an order, meant in the transaction of the fact and sent when they can be (workers/account_relay.py)."""

from __future__ import annotations

from sqlalchemy import Connection

from models.db.repositories import outbox
from models.order_notices import OrderNotice

TOPIC = "notice.order"


def tell(connection: Connection, order_id: str, kind: OrderNotice, subject: str) -> None:
    """One mail a kind and subject (the id of a shipment, a refund, a command), however often it is told.

    An aggregate of its own: a mail that has to wait for its provider does not hold up the order.
    """
    outbox.publish(connection, TOPIC, f"mail/{order_id}", {"order_id": order_id, "kind": kind, "subject": subject})
