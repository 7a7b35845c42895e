"""Sends a mail once: a row records the intent, and an unknown outcome waits for the provider's event.

SendGrid takes no idempotency key. Our message id travels with the mail and comes back in a signed `processed`
event; only when none has come for `unknown_seconds` is it sent again. Twice is possible only if the provider takes a
mail and neither its answer nor its event reaches us within that time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from models.delivery.mails import EmailMessage
from models.delivery.tasks import OpenTask
from models.errors import InvalidRequest, OutcomeUnknown, ProviderUnavailable
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from activities.gateways.mail import MailGateway
    from models.db.session import Database


class MailOnce:
    def __init__(self, database: Database, mail: MailGateway, *, unknown_seconds: float) -> None:
        from models.db.repositories.delivery import sent_messages, tasks

        self._database = database
        self._mail = mail
        self._unknown_seconds = unknown_seconds
        self._messages = sent_messages
        self._tasks = tasks

    def send(self, event: str, topic: str, subject: str, compose: Callable[[str], EmailMessage]) -> str:
        """Returns `sent`, or `failed` when the provider refuses it for good (a manual task about `subject` opens).

        `compose` makes the mail from its id. Raises OutcomeUnknown while the provider's event is awaited,
        ProviderUnavailable when the provider was not reached.
        """
        with self._database.autocommit() as connection:
            sending = self._messages.begin_sending(connection, event, topic, "email", self._unknown_seconds)
        if not sending.may_send:
            if sending.state == "sending":
                raise OutcomeUnknown("An earlier send is unanswered: waiting for the provider's event")
            return sending.state
        message = compose(sending.id)
        failpoint("send_mail:before")
        try:
            self._mail.send(message)
        except ProviderUnavailable:
            with self._database.autocommit() as connection:
                self._messages.not_sent(connection, sending.id)
            raise
        except InvalidRequest as error:
            return self._fail(sending.id, subject, error.detail)
        failpoint("send_mail:after")
        with self._database.autocommit() as connection:
            self._messages.end_sending(connection, sending.id, "sent")
        return "sent"

    def _fail(self, message_id: str, subject: str, why: str) -> str:
        with self._database.transaction() as connection:
            self._messages.end_sending(connection, message_id, "failed")
            self._tasks.open_task(connection, OpenTask(kind="mail-refused", subject=subject, detail=why))
        return "failed"
