"""SendGrid, through its own SDK. It has no idempotency key, so our id travels in `custom_args` and comes back signed.

Mail Send v3 and the signed Event Webhook, as SendGrid documents them.
"""

from __future__ import annotations

import json
from urllib.error import URLError

from cryptography.exceptions import InvalidSignature
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook
from sendgrid.helpers.mail import Content, CustomArg, Mail

from models.base import Record, Storable
from models.delivery.mails import EmailMessage
from models.errors import BadRequest, BadSignature, InvalidRequest, OutcomeUnknown, ProviderUnavailable
from runtime.tracing import trace_context

MESSAGE_ID = "holdfast_message_id"


# The events that the webhook is subscribed to at SendGrid: whether it has accepted a message.
EVENTS = frozenset({"processed", "dropped"})


class MailEvent(Record):
    """An event of one message; `type` is `processed`, `delivered`, `bounce`, …"""

    message_id: Storable
    type: str


class MailGateway:
    """Sends messages; answers within `timeout` seconds or raises OutcomeUnknown."""

    def __init__(
        self, api_key: str, *, base: str = "", sender: str, webhook_key: str = "", timeout: float = 5.0
    ) -> None:
        self._api = SendGridAPIClient(api_key, host=base) if base else SendGridAPIClient(api_key)
        self._api.client.timeout = timeout
        self._sender = sender
        self._webhook = EventWebhook(webhook_key) if webhook_key else None

    def send(self, message: EmailMessage) -> None:
        """Raises ProviderUnavailable (certainly not sent), OutcomeUnknown, or InvalidRequest (refused for good)."""
        mail = Mail(
            from_email=self._sender,
            to_emails=message.to,
            subject=message.subject,
            plain_text_content=Content("text/plain", message.text),
            html_content=Content("text/html", message.html),
        )
        mail.add_custom_arg(CustomArg(MESSAGE_ID, message.id))
        try:
            self._api.client.mail.send.post(request_body=mail.get(), request_headers=trace_context())
        except HTTPError as error:
            raise _domain_error(error) from error
        except URLError as error:
            refused = isinstance(error.reason, ConnectionRefusedError)
            raise (ProviderUnavailable() if refused else OutcomeUnknown()) from error
        except OSError as error:  # a timeout or a reset after the request was sent
            raise OutcomeUnknown() from error

    def events(self, body: bytes, signature: str, timestamp: str) -> list[MailEvent]:
        """The events of a webhook.

        Raises BadSignature unless SendGrid signed exactly these bytes, BadRequest if they are no list of events.
        """
        if self._webhook is None or not _verified(self._webhook, body, signature, timestamp):
            raise BadSignature()
        try:
            return [
                MailEvent(message_id=event[MESSAGE_ID], type=event["event"])
                for event in json.loads(body)
                if MESSAGE_ID in event
            ]
        except (ValueError, TypeError, KeyError) as error:
            raise BadRequest("The body is not a list of events") from error


def _verified(webhook: EventWebhook, body: bytes, signature: str, timestamp: str) -> bool:
    try:
        return bool(webhook.verify_signature(body.decode(), signature, timestamp))
    except (ValueError, InvalidSignature):  # not base64, not UTF-8, not DER
        return False


def _domain_error(error: HTTPError) -> Exception:
    if error.status_code in (401, 403, 429):
        return ProviderUnavailable(f"SendGrid answered {error.status_code}")
    if error.status_code < 500:
        return InvalidRequest(f"SendGrid refused the message with {error.status_code}")
    return OutcomeUnknown(f"SendGrid answered {error.status_code}")
