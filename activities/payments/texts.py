"""Sends a text message, once, to a buyer whose payment needs another method.

A row records the intent. Twilio takes no idempotency key, so an unknown outcome is searched in its list of messages
before a retry; each message has a reference of its own, so that no two are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.accounts.preferences import Channel, Topic, wants
from models.delivery.tasks import OpenTask
from models.errors import InvalidRequest, OutcomeUnknown, ProviderUnavailable
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from activities.gateways.sms import SmsGateway
    from models.db.session import Database

TOPIC = "payment_failed"


class PaymentTexts:
    """`sms` is None if no provider is configured: then nothing is sent."""

    def __init__(
        self, database: Database, sms: SmsGateway | None, *, shop: str, public_url: str, unknown_seconds: float
    ) -> None:
        from models.db.repositories.delivery import sent_messages, tasks
        from models.db.repositories.payments import retry_reads

        self._database = database
        self._sms = sms
        self._shop = shop
        self._public_url = public_url
        self._unknown_seconds = unknown_seconds
        self._messages = sent_messages
        self._reads = retry_reads
        self._tasks = tasks

    def send(self, order_id: str, subject: str) -> str:
        """Returns `sent`; `failed` when the provider refuses it for good; `unwanted` if there is no number, the buyer
        has opted out, or the order no longer waits for its payment.

        Raises OutcomeUnknown while an earlier send may still be in progress, ProviderUnavailable.
        """
        with self._database.autocommit() as connection:
            reader = self._reads.recipient_of(connection, order_id)
        if self._sms is None or reader is None or not wants(reader.choices, Channel.SMS, Topic.PAYMENTS):
            with self._database.autocommit() as connection:
                self._messages.cancel_sending(connection, subject, TOPIC, "sms")
            return "unwanted"
        with self._database.autocommit() as connection:
            sending = self._messages.begin_sending(connection, subject, TOPIC, "sms", self._unknown_seconds)
            earlier = self._messages.sending_history(connection, sending.id)
        if not sending.may_send:
            if sending.state == "sending":
                raise OutcomeUnknown("An earlier send is unanswered: its outcome is resolved later")
            return sending.state
        body = (
            f"{self._shop}: the payment for your order {reader.number} did not work. Please choose another way to pay:"
            f" {self._public_url}/orders/{order_id}/payment (ref. {sending.id[-8:]})"
        )
        if earlier.attempts > 1 and self._sms.was_sent(reader.phone, body, earlier.since):
            return self._end(sending.id, "sent")
        return self._send(sending.id, order_id, reader.phone, body)

    def _send(self, message_id: str, order_id: str, phone: str, body: str) -> str:
        assert self._sms is not None
        failpoint("send_sms:before")
        try:
            self._sms.send(phone, body)
        except ProviderUnavailable:
            with self._database.autocommit() as connection:
                self._messages.not_sent(connection, message_id)
            raise
        except InvalidRequest as error:
            with self._database.transaction() as connection:
                self._messages.end_sending(connection, message_id, "failed")
                task = OpenTask(kind="sms-refused", subject=order_id, detail=error.detail)
                self._tasks.open_task(connection, task)
            return "failed"
        failpoint("send_sms:after")
        return self._end(message_id, "sent")

    def _end(self, message_id: str, state: str) -> str:
        with self._database.autocommit() as connection:
            self._messages.end_sending(connection, message_id, state)
        return state
