"""What a buyer is told of an order, by one mail each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.mails import order_confirmation
from models.errors import NotFound
from models.fulfilment import OrderRef
from models.mails import Message

if TYPE_CHECKING:
    from activities.mail_once import MailOnce
    from models.db.session import Database


class Notifications:
    def __init__(self, database: Database, mails: MailOnce, *, shop: str, public_url: str) -> None:
        from models.db.repositories import orders

        self._database = database
        self._mails = mails
        self._shop = shop
        self._public_url = public_url
        self._orders = orders

    @activity.defn
    def send_order_confirmation(self, ref: OrderRef) -> str:
        """As MailOnce.send."""
        with self._database.reading() as connection:
            stored = self._orders.read_order(connection, ref.order_id)
        if stored is None:
            raise NotFound(f"There is no order {ref.order_id}")
        order, email = stored.order, stored.email or ""

        def compose(message_id: str) -> Message:
            return order_confirmation(message_id, order, email, shop=self._shop, public_url=self._public_url)

        return self._mails.send(f"{ref.order_id}:1", "order_confirmed", ref.order_id, compose)
