"""Mails, exactly once each: the intent is a row, and a send without a known outcome waits for the provider's word.

SendGrid takes no idempotency key. Our message id travels with the mail and comes back in a signed `processed`
event; only when none has come for `unknown_seconds` is it sent again. Twice is possible only if the provider takes a
mail and neither its answer nor its event reaches us within that time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.failpoints import failpoint
from activities.mails import order_confirmation
from models.checkout import OpenTask
from models.errors import InvalidRequest, NotFound, OutcomeUnknown, ProviderUnavailable
from models.fulfilment import OrderRef

if TYPE_CHECKING:
    from activities.gateways.mail import MailGateway
    from models.db.session import Database


class Notifications:
    def __init__(
        self, database: Database, mail: MailGateway, *, shop: str, public_url: str, unknown_seconds: float
    ) -> None:
        from models.db.repositories import messaging, orders

        self._database = database
        self._mail = mail
        self._shop = shop
        self._public_url = public_url
        self._unknown_seconds = unknown_seconds
        self._messages = messaging
        self._orders = orders

    @activity.defn
    def send_order_confirmation(self, ref: OrderRef) -> str:
        """The message's state: `sent`, or `failed` when the provider will never take it (a task is opened).

        Raises OutcomeUnknown while the provider's word is awaited, ProviderUnavailable when it was not reached.
        """
        with self._database.reading() as connection:
            sending = self._messages.begin_sending(
                connection, f"{ref.order_id}:1", "order_confirmed", "email", self._unknown_seconds
            )
            stored = self._orders.read_order(connection, ref.order_id)
        if stored is None:
            raise NotFound(f"There is no order {ref.order_id}")
        if not sending.may_send:
            if sending.state == "sending":
                raise OutcomeUnknown("An earlier send is unanswered: waiting for the provider's word")
            return sending.state
        message = order_confirmation(
            sending.id, stored.order, stored.email or "", shop=self._shop, public_url=self._public_url
        )
        failpoint("send_order_confirmation:before")
        try:
            self._mail.send(message)
        except ProviderUnavailable:
            with self._database.reading() as connection:
                self._messages.not_sent(connection, sending.id)
            raise
        except InvalidRequest as error:
            return self._give_up(sending.id, ref.order_id, error.detail)
        failpoint("send_order_confirmation:after")
        with self._database.reading() as connection:
            self._messages.end_sending(connection, sending.id, "sent")
        return "sent"

    def _give_up(self, message_id: str, order_id: str, why: str) -> str:
        with self._database.transaction() as connection:
            self._messages.end_sending(connection, message_id, "failed")
            self._messages.open_task(connection, OpenTask(kind="mail-refused", subject=order_id, detail=why))
        return "failed"
