"""Sends mails about an order to its buyer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.templates.order_confirmation import order_confirmation
from activities.templates.orders import order_mail
from models.delivery.mails import EmailMessage
from models.errors import NotFound
from models.orders.fulfilment import OrderRef
from models.orders.notices import OrderNotice

if TYPE_CHECKING:
    from activities.delivery.mail_once import MailOnce
    from models.db.session import Database


class Notifications:
    def __init__(self, database: Database, mails: MailOnce, *, shop: str, public_url: str) -> None:
        from models.db.repositories.orders import orders

        self._database = database
        self._mails = mails
        self._shop = shop
        self._public_url = public_url
        self._orders = orders

    @activity.defn
    def send_order_confirmation(self, ref: OrderRef) -> str:
        """As MailOnce.send. Raises NotFound."""
        with self._database.autocommit() as connection:
            stored = self._orders.read_order(connection, ref.order_id)
        if stored is None:
            raise NotFound(f"There is no order {ref.order_id}")
        order, email = stored.order, stored.email or ""

        def compose(message_id: str) -> EmailMessage:
            return order_confirmation(message_id, order, email, shop=self._shop, public_url=self._public_url)

        return self._mails.send(f"{ref.order_id}:1", "order_confirmed", ref.order_id, compose)

    def send_notice(self, order_id: str, kind: OrderNotice, subject: str) -> str:
        """As MailOnce.send; a plain method, because the outbox delivers each message as a step of its own."""
        with self._database.autocommit() as connection:
            stored = self._orders.read_order(connection, order_id)
        if stored is None or stored.email is None:  # the buyer's data has been erased
            return "failed"
        order, email = stored.order, stored.email

        def compose(message_id: str) -> EmailMessage:
            where = {"shop": self._shop, "public_url": self._public_url}
            if kind is OrderNotice.CONFIRMED:
                return order_confirmation(message_id, order, email, **where)
            return order_mail(message_id, kind, order, subject, email, **where)

        return self._mails.send(subject, f"notice_{kind}", order_id, compose)
