"""A Twilio-shaped SMS provider: accepts messages, lists them, reports their status by signed callbacks."""

import base64
import operator
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sandbox.clock import Clock
from sandbox.exchange import Call, Request, Response, ScriptedOutcome, as_json
from sandbox.store import Row, Store
from sandbox.webhooks import Webhooks

API_VERSION = "2010-04-01"
LONGEST = 1_600  # characters of a body
_PATH = re.compile(rf"/{API_VERSION}/Accounts/(?P<account>AC\w+)/Messages(?:/(?P<sid>SM\w+))?\.json")
_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_KNOWN = {
    "To", "From", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables", "StatusCallback",
    "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt", "ValidityPeriod", "ForceDelivery",
    "ContentRetention", "AddressRetention", "SmartEncoded", "PersistentAction", "ShortenUrls", "ScheduleType",
    "SendAt", "SendAsMms", "RiskCheck",
}  # fmt: skip
_MAGIC_TO = {  # twilio.com/docs/iam/test-credentials
    "+15005550001": (21211, "The 'To' number +15005550001 is not a valid phone number."),
    "+15005550002": (21612, "The message can't be routed to +15005550002."),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region."),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}

# The filters of a list by the time of sending.
_SENT: dict[str, Callable[[datetime, datetime], bool]] = {
    "DateSent": lambda sent, at: sent.date() == at.date(),
    "DateSent<": operator.le,
    "DateSent>": operator.ge,
}


class SmsService:
    """`/2010-04-01/Accounts/{sid}/Messages…`; source: twilio.com/docs/messaging/api/message-resource."""

    name = "twilio"

    def __init__(self, store: Store, clock: Clock, webhooks: Webhooks) -> None:
        self._store = store
        self._clock = clock
        self._webhooks = webhooks
        self._rows = store.table("sms")

    def read(self, request: Request) -> Call:
        """Decode; the metadata is the status callback's query, and `to` the recipient."""
        params = dict(request.pairs())
        query = urlsplit(params.get("StatusCallback", "")).query
        metadata = {**dict(parse_qsl(query)), **({"to": params["To"]} if "To" in params else {})}
        recipients = (params["To"],) if "To" in params else ()
        return Call(self.name, request, params, metadata, recipients)

    def begin(self, call: Call) -> Response | None:
        """Authenticates by account SID or API key; Twilio has no idempotency for messages."""
        scheme, _, encoded = call.request.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            user = password = ""
        if scheme.lower() != "basic" or not user.startswith(("AC", "SK")) or not password:
            return _refusal(401, 20003, "Authenticate")
        return None

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Send, fetch or list."""
        match = _PATH.fullmatch(call.request.path)
        if match is None:
            return _refusal(404, 20404, f"The requested resource {call.request.path} was not found")
        if call.request.method == "POST" and not match["sid"]:
            return self._send(match["account"], call.params)
        if call.request.method != "GET":
            return _refusal(405, 20004, "Method not allowed")
        if match["sid"]:
            message = self._rows.get(match["sid"])
            if message is None or message["account_sid"] != match["account"]:
                return _refusal(404, 20404, f"The requested resource {call.request.path} was not found")
            return as_json(200, _public(message))
        return self._list(match["account"], call)

    def _send(self, account: str, params: dict[str, str]) -> Response:
        problem = _problem(params)
        if problem:
            return _refusal(400, *problem)
        sid = f"SM{secrets.token_hex(16)}"
        stamp = formatdate(self._clock.now()).replace("-0000", "+0000")
        message: Row = {
            "sid": sid,
            "account_sid": account,
            "api_version": API_VERSION,
            "body": params["Body"],
            "date_created": stamp,
            "date_sent": None,
            "date_updated": stamp,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": params.get("From"),
            "messaging_service_sid": params.get("MessagingServiceSid"),
            "num_media": "0",
            "num_segments": str(1 + max(0, len(params["Body"]) - 1) // 153),
            "price": None,
            "price_unit": "USD",
            "status": "queued",
            "subresource_uris": {"media": f"/{API_VERSION}/Accounts/{account}/Messages/{sid}/Media.json"},
            "to": params["To"],
            "uri": f"/{API_VERSION}/Accounts/{account}/Messages/{sid}.json",
        }
        answer = as_json(201, message)
        message.update(status="delivered", date_sent=stamp, _at=self._clock.iso())
        self._store.put("sms", sid, message)
        if params.get("StatusCallback"):
            for status in ("sent", "delivered"):
                self._report(message, status, params["StatusCallback"])
        return answer

    def _report(self, message: Row, status: str, callback: str) -> None:
        fields = {
            "AccountSid": message["account_sid"],
            "ApiVersion": API_VERSION,
            "From": message["from"] or "",
            "MessageSid": message["sid"],
            "MessageStatus": status,
            "SmsSid": message["sid"],
            "SmsStatus": status,
            "To": message["to"],
        }
        self._webhooks.emit(self.name, f"twilio/{message['sid']}", callback, urlencode(fields))

    def _list(self, account: str, call: Call) -> Response:
        query = dict(parse_qsl(call.request.query))
        wanted = {"to": query.get("To"), "from": query.get("From")}
        try:
            size = min(int(query.get("PageSize", "50")), 1000)
            number = int(query.get("Page", "0"))
            days = {name: _moment(query[name]) for name in _SENT if name in query}
        except ValueError as error:
            return _refusal(400, 20001, str(error))
        found = [
            _public(message)
            for message in reversed(self._rows.values())
            if message["account_sid"] == account
            and all(value in (None, message[name]) for name, value in wanted.items())
            and all(_SENT[name](_moment(message["_at"]), at) for name, at in days.items())
        ]
        start = number * size
        more = len(found) > start + size
        here = f"{call.request.path}?{urlencode({**query, 'PageSize': size, 'Page': number})}"
        beyond = f"{call.request.path}?{urlencode({**query, 'PageSize': size, 'Page': number + 1})}"
        page = {
            "messages": found[start : start + size],
            "page": number,
            "page_size": size,
            "start": start,
            "end": max(start, min(len(found), start + size) - 1),
            "first_page_uri": f"{call.request.path}?{urlencode({**query, 'PageSize': size, 'Page': 0})}",
            "next_page_uri": beyond if more else None,
            "previous_page_uri": None,
            "uri": here,
        }
        return as_json(200, page)

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted status with Twilio's error body."""
        return _refusal(status, 20500, f"A script of the sandbox answers {status} here.")

    def remember(self, call: Call, answer: Response) -> None:
        """Stores nothing: a repeat is a second message."""

    def end(self, call: Call) -> None:
        """Nothing to release."""

    def inbox(self, to: str | None) -> list[Row]:
        """All messages, oldest first, in the shape of the mail inbox."""
        return [
            {
                "id": message["sid"],
                "at": message["_at"],
                "to": message["to"],
                "from": message["from"] or message["messaging_service_sid"],
                "subject": None,
                "text": message["body"],
                "html": None,
                "headers": {},
            }
            for message in self._rows.values()
            if to in (None, message["to"])
        ]


def forge(body: str) -> str:
    """A forged callback, which says that the message failed."""
    fields = dict(parse_qsl(body, keep_blank_values=True))
    return urlencode({**fields, "MessageStatus": "failed", "SmsStatus": "failed", "ErrorCode": "30008"})


def _problem(params: dict[str, str]) -> tuple[int, str] | None:
    """Twilio's error code and message for a refused message."""
    unknown = sorted(set(params) - _KNOWN)
    if unknown:
        return 20001, f"Unknown parameter {unknown[0]}"
    to = params.get("To", "")
    if not to:
        return 21604, "A 'To' phone number is required."
    if to in _MAGIC_TO:
        return _MAGIC_TO[to]
    if not _NUMBER.fullmatch(to):
        return 21211, f"Invalid 'To' Phone Number: {to}"
    if not params.get("From") and not params.get("MessagingServiceSid"):
        return 21603, "A 'From' phone number is required."
    if not params.get("Body"):
        return 21602, "Message body is required."
    if len(params["Body"]) > LONGEST:
        return 21617, f"The concatenated message body exceeds the {LONGEST} character limit"
    return None


def _moment(text: str) -> datetime:
    """A date or a moment in ISO 8601, UTC unless it says otherwise. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _public(message: Row) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key[0] != "_"}


def _refusal(status: int, code: int, message: str) -> Response:
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    return as_json(status, {"code": code, "message": message, "more_info": more_info, "status": status})
