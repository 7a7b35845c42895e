"""A SendGrid-shaped mail provider: accepts mail, keeps it by recipient, reports events."""

import json
import secrets
import time
from typing import Any

from sandbox.clock import Clock
from sandbox.exchange import Call, Request, Response, ScriptedOutcome, as_json
from sandbox.store import Row, Store
from sandbox.webhooks import Webhooks

SEND = "/v3/mail/send"
WEBHOOK_PATH = "/v1/webhooks/sendgrid"
RECIPIENTS = 1_000  # at most, over all personalizations
_KNOWN = {
    "personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id",
    "headers", "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings",
    "tracking_settings", "sections",
}  # fmt: skip


class BadMail(Exception):
    """A request that SendGrid answers with 400: what is wrong, and in which field."""

    def __init__(self, message: str, field: str | None) -> None:
        super().__init__(message)
        self.field = field


class MailService:
    """`POST /v3/mail/send`; source: twilio.com/docs/sendgrid/api-reference/mail-send."""

    name = "sendgrid"

    def __init__(self, store: Store, clock: Clock, webhooks: Webhooks, events: frozenset[str]) -> None:
        self._store = store
        self._clock = clock
        self._webhooks = webhooks
        self._events = events
        self._rows = store.table("mail")

    def read(self, request: Request) -> Call:
        """Decode; the metadata is all `custom_args`, and `to` the first recipient."""
        try:
            body = json.loads(request.body or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return Call(self.name, request)
        metadata, recipients = _address_label(body)
        return Call(self.name, request, body, metadata, recipients)

    def begin(self, call: Call) -> Response | None:
        """Authenticate; SendGrid has no idempotency."""
        scheme, _, key = call.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.startswith("SG."):
            message = "The provided authorization grant is invalid, expired, or revoked"
            return _refusal(401, message, None)
        return None

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Accept the mail for all its recipients (202), or refuse it (400)."""
        if call.request.path != SEND or call.request.method != "POST":
            return _refusal(404, "not found", None)
        body = call.params
        try:
            _validate(body)
        except BadMail as error:
            return _refusal(400, str(error), error.field)
        if body.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return Response(200)  # SendGrid's own sandbox: validated, not sent
        message_id = secrets.token_urlsafe(16)
        for personalization in body["personalizations"]:
            args = {**body.get("custom_args", {}), **personalization.get("custom_args", {})}
            for address in _addresses(personalization):
                self._deliver(body, personalization, args, address, message_id)
        return Response(202, headers={"x-message-id": message_id})

    def _deliver(self, body: Row, personalization: Row, args: Row, address: str, message_id: str) -> None:
        texts = {part["type"]: _filled(part["value"], personalization) for part in body.get("content", [])}
        mail: Row = {
            "id": f"{message_id}.{secrets.token_hex(4)}",
            "at": self._clock.iso(),
            "to": address,
            "from": body["from"]["email"],
            "subject": _filled(personalization.get("subject") or body.get("subject") or "", personalization),
            "text": texts.get("text/plain"),
            "html": texts.get("text/html"),
            "headers": {**body.get("headers", {}), **personalization.get("headers", {})},
            "custom_args": args,
            "categories": body.get("categories", []),
            "template_id": body.get("template_id"),
            "dynamic_template_data": personalization.get("dynamic_template_data"),
        }
        self._store.put("mail", mail["id"], mail)
        for event, more in (("processed", {}), ("delivered", {"response": "250 OK"})):
            if event in self._events:
                self._report(mail, event, more)

    def _report(self, mail: Row, event: str, more: Row) -> None:
        """Sends one event as an array of one element, as a quiet account gets it."""
        fact = {
            **{key: str(value) for key, value in mail["custom_args"].items()},
            "email": mail["to"],
            "timestamp": int(time.time()),
            "smtp-id": f"<{mail['id']}@sandbox>",
            "event": event,
            "category": mail["categories"],
            "sg_event_id": secrets.token_urlsafe(16),
            "sg_message_id": mail["id"],
            **more,
        }
        self._webhooks.emit(self.name, f"sendgrid/{mail['id']}", WEBHOOK_PATH, json.dumps([fact]))

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted status with SendGrid's error body."""
        return _refusal(status, f"A script of the sandbox answers {status} here.", None)

    def remember(self, call: Call, answer: Response) -> None:
        """Stores nothing: a repeat is a second mail."""

    def end(self, call: Call) -> None:
        """Nothing to release."""

    def inbox(self, to: str | None) -> list[Row]:
        """All mail, or that to one address (whatever its case), oldest first."""
        return [mail for mail in self._rows.values() if to is None or mail["to"].lower() == to.lower()]


def forge(body: str) -> str:
    """Forged events, which say that the mail bounced."""
    lies = [{**event, "event": "bounce", "sg_event_id": secrets.token_urlsafe(16)} for event in json.loads(body)]
    return json.dumps(lies)


def _address_label(body: Row) -> tuple[dict[str, str], tuple[str, ...]]:
    """Custom args and recipients of a body that may be malformed."""
    try:
        args = dict(body.get("custom_args") or {})
        recipients: list[str] = []
        for personalization in body.get("personalizations") or []:
            args.update(personalization.get("custom_args") or {})
            recipients += _addresses(personalization)
    except (TypeError, ValueError, AttributeError, KeyError):
        return {}, ()
    labels = {key: str(value) for key, value in args.items()}
    return ({**labels, "to": recipients[0]} if recipients else labels), tuple(recipients)


def _addresses(personalization: Row) -> list[str]:
    kinds = ("to", "cc", "bcc")
    return [str(person["email"]) for kind in kinds for person in personalization.get(kind) or []]


def _filled(text: str, personalization: Row) -> str:
    """Applies legacy substitutions."""
    for key, value in (personalization.get("substitutions") or {}).items():
        text = text.replace(key, str(value))
    return text


def _validate(body: Any) -> None:
    """Raise BadMail for what SendGrid refuses."""
    if not isinstance(body, dict) or not body:
        raise BadMail("Bad Request", None)
    unknown = sorted(set(body) - _KNOWN)
    if unknown:
        raise BadMail(f"Additional property {unknown[0]} is not allowed", unknown[0])
    if not _is_person(body.get("from")):
        raise BadMail("The from object must be provided for every email send.", "from.email")
    personalizations = body.get("personalizations")
    if not isinstance(personalizations, list) or not personalizations:
        raise BadMail("The personalizations field is required and must have at least one.", "personalizations")
    for place, personalization in enumerate(personalizations):
        _validate_personalization(body, personalization, f"personalizations.{place}")
    if len(_address_label(body)[1]) > RECIPIENTS:
        raise BadMail(f"There are more than {RECIPIENTS} recipients.", "personalizations")
    _validate_content(body)
    args = body.get("custom_args", {})
    if not isinstance(args, dict) or not all(isinstance(value, str) for value in args.values()):
        raise BadMail("The custom_args must be an object with string values.", "custom_args")


def _validate_personalization(body: Row, personalization: Any, where: str) -> None:
    if not isinstance(personalization, dict) or not personalization.get("to"):
        raise BadMail("The to array is required for all personalization objects.", f"{where}.to")
    people = [person for kind in ("to", "cc", "bcc") for person in personalization.get(kind) or []]
    if not all(_is_person(person) for person in people):
        raise BadMail("Does not contain a valid address.", f"{where}.to.email")
    addresses = [person["email"].lower() for person in people]
    if len(set(addresses)) < len(addresses):
        raise BadMail("Each email address in the personalization block should be unique.", where)
    if not (personalization.get("subject") or body.get("subject") or body.get("template_id")):
        raise BadMail("The subject is required.", "subject")


def _validate_content(body: Row) -> None:
    content = body.get("content")
    if not content and not body.get("template_id"):
        raise BadMail("Unless a valid template_id is provided, the content parameter is required.", "content")
    for part in content or []:
        if not isinstance(part, dict) or not part.get("type") or not part.get("value"):
            raise BadMail("The content value must be a string at least one character in length.", "content.0.value")
    kinds = [part["type"] for part in content or []]
    if "text/plain" in kinds[1:]:
        raise BadMail("The text/plain part must come first.", "content")


def _is_person(person: Any) -> bool:
    if not isinstance(person, dict) or not isinstance(person.get("email"), str):
        return False
    name, at, domain = person["email"].rpartition("@")
    return bool(name and at and "." in domain and " " not in person["email"])


def _refusal(status: int, message: str, field: str | None) -> Response:
    return as_json(status, {"errors": [{"message": message, "field": field, "help": None}]})
