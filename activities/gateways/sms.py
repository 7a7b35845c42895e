"""Twilio, through its own SDK. It has no idempotency key, so an unknown outcome is resolved by its list of messages.

Source: Twilio's API reference, Message resource (https://www.twilio.com/docs/messaging/api/message-resource).
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from urllib3.exceptions import MaxRetryError, NewConnectionError

from models.errors import HoldfastError, InvalidRequest, OutcomeUnknown, ProviderUnavailable

TWILIO = "https://api.twilio.com"
# The list has only Twilio's clock: start earlier.
CLOCK_MARGIN = timedelta(minutes=5)

_quiet = logging.getLogger("holdfast.twilio")
_quiet.setLevel(logging.CRITICAL)  # the SDK would log each request with its phone number


class SmsGateway:
    """Sends messages; answers within `timeout` seconds or raises OutcomeUnknown. `base`: empty for the real Twilio."""

    def __init__(self, account: str, token: str, *, base: str = "", sender: str, timeout: float = 5.0) -> None:
        self._client = Client(account, token, http_client=_Http(base or TWILIO, timeout))
        self._sender = sender

    def send(self, to: str, body: str) -> None:
        """`to` in E.164. Raises ProviderUnavailable (not sent), OutcomeUnknown, InvalidRequest (refused for good)."""
        try:
            self._client.messages.create(to=to, from_=self._sender, body=body)
        except TwilioRestException as error:
            raise _domain_error(error) from error
        except RequestException as error:
            raise (ProviderUnavailable() if _never_sent(error) else OutcomeUnknown()) from error

    def was_sent(self, to: str, body: str, since: datetime) -> bool:
        """Whether Twilio has accepted exactly this message since then. Raises ProviderUnavailable."""
        try:
            listed = self._client.messages.stream(to=to, date_sent_after=since - CLOCK_MARGIN)
            return any(message.body == body for message in listed)
        except (TwilioRestException, RequestException) as error:
            raise ProviderUnavailable() from error


class _Http(TwilioHttpClient):  # type: ignore[misc]  # the SDK has no types
    """Twilio's own transport, pointed at `base`."""

    def __init__(self, base: str, timeout: float) -> None:
        super().__init__(timeout=timeout, logger=_quiet, max_retries=0)
        self._base = base

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        return super().request(method, url.replace(TWILIO, self._base, 1), *args, **kwargs)


def _domain_error(error: TwilioRestException) -> HoldfastError:
    if error.status in (401, 403, 429):
        return ProviderUnavailable(f"Twilio answered {error.status}")
    if error.status < 500:
        return InvalidRequest(f"Twilio refused the message: {error.code or error.status}")
    return OutcomeUnknown(f"Twilio answered {error.status}")


def _never_sent(error: RequestException) -> bool:
    """True when no connection was made, so not a byte of the request left."""
    if isinstance(error, RequestsConnectionError) and error.args:
        reason = error.args[0].reason if isinstance(error.args[0], MaxRetryError) else error.args[0]
        return isinstance(reason, NewConnectionError)
    return False
