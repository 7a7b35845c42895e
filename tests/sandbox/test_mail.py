"""Mail through SendGrid's own SDK: what arrives, what is refused, and the signed events that tell."""

import base64
import json
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from python_http_client.exceptions import BadRequestsError, InternalServerError, UnauthorizedError
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook
from sendgrid.helpers.mail import Bcc, Cc, CustomArg, Mail, To

from sandbox.config import SENDGRID_PRIVATE_KEY

ASK = {
    "personalizations": [{"to": [{"email": "ada@example.com"}]}],
    "from": {"email": "shop@example.com"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Hi"}],
}


def public_key() -> str:
    key = load_der_private_key(base64.b64decode(SENDGRID_PRIVATE_KEY), None).public_key()
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def verified(one: Any) -> bool:
    signature = one.headers["x-twilio-email-event-webhook-signature"]
    timestamp = one.headers["x-twilio-email-event-webhook-timestamp"]
    return bool(EventWebhook(public_key()).verify_signature(one.body.decode(), signature, timestamp))


def order_mail(**changes: Any) -> Mail:
    mail = Mail(
        from_email="shop@example.com",
        to_emails=changes.pop("to", [To("ada@example.com", "Ada")]),
        subject="Order 1",
        plain_text_content="Thanks!",
        html_content="<p>Thanks!</p>",
    )
    mail.custom_arg = CustomArg("notification_id", "n_1")
    return mail


def send(sandbox: Any, mail: Any, key: str = "SG.test") -> Any:
    return SendGridAPIClient(key, host=sandbox.url).send(mail)


def post(sandbox: Any, body: Any, **more: Any) -> httpx.Response:
    return sandbox.http.post(f"{sandbox.url}/v3/mail/send", headers={"authorization": "Bearer SG.x"}, json=body, **more)


def test_what_a_person_receives(sandbox: Any) -> None:
    answer = send(sandbox, order_mail())

    assert (answer.status_code, bool(answer.headers["x-message-id"])) == (202, True)
    [mail] = sandbox.seen("/mail?to=ADA@example.com")
    shown = {key: mail[key] for key in ("to", "from", "subject", "text", "html", "headers", "custom_args")}
    assert shown == {
        "to": "ada@example.com",
        "from": "shop@example.com",
        "subject": "Order 1",
        "text": "Thanks!",
        "html": "<p>Thanks!</p>",
        "headers": {},
        "custom_args": {"notification_id": "n_1"},
    }
    assert (bool(mail["id"]), mail["at"][-1]) == (True, "Z")
    assert sandbox.seen("/mail?to=bob@example.com") == []


def test_events_are_signed_and_carry_the_custom_args(sandbox: Any) -> None:
    answer = send(sandbox, order_mail())
    sandbox.eventually(lambda: len(sandbox.shop.at("/v1/webhooks/sendgrid")) == 2)
    received = sandbox.shop.at("/v1/webhooks/sendgrid")

    assert all(verified(one) for one in received)
    [processed], [delivered] = (one.event for one in received)
    assert (processed["event"], delivered["event"]) == ("processed", "delivered")
    assert (processed["notification_id"], processed["email"]) == ("n_1", "ada@example.com")
    assert processed["sg_message_id"].startswith(answer.headers["x-message-id"])
    assert processed["sg_message_id"] == delivered["sg_message_id"]
    assert processed["sg_event_id"] != delivered["sg_event_id"]
    assert isinstance(processed["timestamp"], int)


def test_forged_events_say_that_it_bounced(sandbox: Any) -> None:
    sandbox.control("/webhooks", {"service": "sendgrid", "mode": "drop", "forge": True})
    send(sandbox, order_mail())

    sandbox.eventually(lambda: len(sandbox.shop.at("/v1/webhooks/sendgrid")) == 2)
    for one in sandbox.shop.at("/v1/webhooks/sendgrid"):
        assert (one.event[0]["event"], verified(one)) == ("bounce", False)


def test_everyone_gets_a_copy(sandbox: Any) -> None:
    send(sandbox, order_mail(to=[To("a@example.com"), Cc("b@example.com"), Bcc("c@example.com")]))

    assert [mail["to"] for mail in sandbox.seen("/mail")] == ["a@example.com", "b@example.com", "c@example.com"]


def test_personalizations_have_their_own_words(sandbox: Any) -> None:
    personalizations = [
        {
            "to": [{"email": f"{name}@example.com"}],
            "subject": "For -name-",
            "substitutions": {"-name-": name},
            "headers": {"X-Who": name},
            "custom_args": {"who": name},
        }
        for name in ("ada", "bob")
    ]
    content = [{"type": "text/plain", "value": "Hi -name-"}]
    assert post(sandbox, {**ASK, "personalizations": personalizations, "content": content}).status_code == 202

    mails = sandbox.seen("/mail")
    assert [(mail["subject"], mail["text"], mail["headers"]) for mail in mails] == [
        ("For ada", "Hi ada", {"X-Who": "ada"}),
        ("For bob", "Hi bob", {"X-Who": "bob"}),
    ]


def test_sendgrids_own_sandbox_mode_sends_nothing(sandbox: Any) -> None:
    body = {**ASK, "mail_settings": {"sandbox_mode": {"enable": True}}}

    assert post(sandbox, body).status_code == 200
    assert sandbox.seen("/mail") == []


@pytest.mark.parametrize(
    "match",
    [{"to": "ada@example.com"}, {"metadata": {"to": "ada@example.com"}}, {"metadata": {"notification_id": "n_1"}}],
)
def test_scripts_match_recipients_and_custom_args(sandbox: Any, match: dict[str, Any]) -> None:
    sandbox.script({"kind": "status_after", "status": 500}, service="sendgrid", **match)
    assert post(sandbox, {**ASK, "personalizations": [{"to": [{"email": "bob@example.com"}]}]}).status_code == 202

    with pytest.raises(InternalServerError):
        send(sandbox, order_mail())
    assert len(sandbox.seen("/mail?to=ada@example.com")) == 1
    send(sandbox, order_mail())
    assert len(sandbox.seen("/mail?to=ada@example.com")) == 2


def test_the_call_log_knows_mail(sandbox: Any) -> None:
    send(sandbox, order_mail())

    [call] = sandbox.seen("/calls?service=sendgrid")
    assert (call["path"], call["status"], call["params"]["subject"]) == ("/v3/mail/send", 202, "Order 1")
    assert call["metadata"] == {"notification_id": "n_1", "to": "ada@example.com"}


def test_keys_and_paths(sandbox: Any) -> None:
    with pytest.raises(UnauthorizedError):
        send(sandbox, order_mail(), key="sk_test_1")
    with pytest.raises(BadRequestsError):
        send(sandbox, {})
    other = sandbox.http.get(f"{sandbox.url}/v3/templates", headers={"authorization": "Bearer SG.x"})
    assert other.status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"from": {"email": "nobody"}}, "from.email"),
        ({"from": None}, "from.email"),
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": ["x"]}, "personalizations.0.to"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "a b@example.com"}]}]}, "personalizations.0.to.email"),
        ({"personalizations": [{"to": [{"email": "a@b.cd"}, {"email": "A@b.cd"}]}]}, "personalizations.0"),
        ({"personalizations": [{"to": [{"email": f"a{n}@b.cd"} for n in range(1001)]}]}, "personalizations"),
        ({"subject": ""}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content"),
        ({"custom_args": {"a": 1}}, "custom_args"),
    ],
)
def test_refused_mail(sandbox: Any, change: dict[str, Any], field: str) -> None:
    answer = post(sandbox, {**ASK, **change})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert sandbox.seen("/mail") == []


@pytest.mark.parametrize("body", ["{", "[]", json.dumps({"personalizations": 1})])
def test_bodies_that_are_no_mail(sandbox: Any, body: str) -> None:
    answer = sandbox.http.post(f"{sandbox.url}/v3/mail/send", headers={"authorization": "Bearer SG.x"}, content=body)

    assert answer.status_code == 400
