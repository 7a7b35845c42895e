"""The call log, the clock, the pages for people, and control calls that make no sense."""

import time
from typing import Any

import pytest


def test_the_call_log(sandbox: Any) -> None:
    intent = sandbox.intent(metadata={"cart_id": "c1"}, capture_method="manual")
    sandbox.client().v1.payment_intents.capture(intent.id)
    sandbox.client().v1.customers.list({"limit": 3})

    calls = sandbox.seen("/calls")
    assert [call["n"] for call in calls] == [1, 2, 3]
    create, capture, listed = calls
    expected = ["n", "at", "service", "method", "path", "idempotency_key", "replayed", "params", "metadata", "status"]
    assert list(create) == expected
    assert (create["service"], create["method"], create["path"]) == ("stripe", "POST", "/v1/payment_intents")
    assert (create["params"]["amount"], create["params"]["confirm"]) == (1000, True)
    assert (create["metadata"], create["status"], create["replayed"]) == ({"cart_id": "c1"}, 200, False)
    assert (capture["metadata"], capture["path"]) == ({"cart_id": "c1"}, f"/v1/payment_intents/{intent.id}/capture")
    assert (listed["idempotency_key"], listed["params"]) == (None, {"limit": 3})

    assert sandbox.seen("/calls?since=2") == [listed]
    assert sandbox.seen("/calls?path=/v1/payment_intents") == [create, capture]
    assert sandbox.seen("/calls?service=stripe&limit=1") == [create]
    assert sandbox.seen("/calls?service=sendgrid") == []


def test_parameters_that_cannot_be_read_are_logged_as_they_came(sandbox: Any) -> None:
    headers = {"authorization": "Bearer sk_test_1"}
    body = "amount=lots&colour=red&metadata=x&list[]=1&list[]=2&deep[a][b]=c"
    sandbox.http.post(f"{sandbox.url}/v1/payment_intents", headers=headers, content=body)

    [call] = sandbox.seen("/calls")
    assert call["params"] == {
        "amount": "lots",
        "colour": "red",
        "metadata": "x",
        "list": ["1", "2"],
        "deep": {"a": {"b": "c"}},
    }
    assert (call["metadata"], call["status"]) == ({}, 400)


def test_the_clock_moves_everything(sandbox: Any) -> None:
    before = sandbox.intent().created
    sandbox.control("/clock", {"advance_s": 90_000})

    assert sandbox.intent().created - before >= 90_000
    assert sandbox.intent().created > time.time() + 80_000


def test_health_and_reset(sandbox: Any) -> None:
    sandbox.intent()
    assert sandbox.seen("/health")["services"] == ["stripe", "sendgrid", "twilio", "idp", "carrier", "paypal"]
    sandbox.control("/clock", {"advance_s": 10})
    sandbox.control("/webhooks", {"mode": "hold"})
    sandbox.script({"kind": "delay", "ms": 1})

    sandbox.control("/reset")

    for path in ("/calls", "/mail", "/sms", "/script", "/stripe/payment_intents", "/stripe/customers"):
        assert sandbox.seen(path) == []
    assert sandbox.seen("/webhooks")["stripe"] == {
        "mode": "deliver",
        "delay_ms": 0,
        "duplicate": 1,
        "shuffle": False,
        "seed": 1,
        "forge": False,
        "held": 0,
        "pending": 0,
    }
    found = sandbox.client().v1.payment_intents.search({"query": "metadata['a']:'b'"})
    assert found.data == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/clock", {"advance_s": -1}, 400),
        ("/clock", {"advance_s": "x"}, 400),
        ("/clock", {"back_s": 1}, 400),
        ("/clock", "no object", 400),
        ("/stripe/payment_intents/pi_none/authenticate", {"result": "success"}, 404),
        ("/stripe/payment_intents/{intent}/authenticate", {"result": "perhaps"}, 400),
        ("/stripe/refunds/re_none/settle", {"status": "succeeded"}, 404),
        ("/webhooks/release", {"service": "fax"}, 400),
        ("/stripe/settlement", {"currency": "USD"}, 400),
        ("/stripe/settlement", {"currency": "usd", "rates": {"eur": 0}}, 400),
    ],
)
def test_senseless_orders(sandbox: Any, path: str, body: Any, status: int) -> None:
    intent = sandbox.intent()
    answer = sandbox.http.post(f"{sandbox.url}/_sandbox{path.format(intent=intent.id)}", json=body)

    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


@pytest.mark.parametrize("path", ["/calls?since=x", "/calls?service=fax", "/stripe/unicorns"])
def test_senseless_questions(sandbox: Any, path: str) -> None:
    assert sandbox.http.get(f"{sandbox.url}/_sandbox{path}").status_code == 400


def test_a_body_that_is_no_json(sandbox: Any) -> None:
    assert sandbox.http.post(f"{sandbox.url}/_sandbox/clock", content="{").status_code == 400


def test_the_page_shows_what_arrived_and_escapes_it(sandbox: Any) -> None:
    assert "Nothing yet" in sandbox.http.get(sandbox.url).text
    paid = sandbox.intent()
    asked = sandbox.intent(payment_method="pm_card_authenticationRequired")
    sandbox.http.post(
        f"{sandbox.url}/v3/mail/send",
        headers={"authorization": "Bearer SG.x"},
        json={
            "personalizations": [{"to": [{"email": "ada@example.com"}]}],
            "from": {"email": "shop@example.com"},
            "subject": "<script>alert(1)</script>",
            "content": [{"type": "text/html", "value": '<b onclick="x()">Hi</b>'}],
        },
    )
    sandbox.http.post(
        f"{sandbox.url}/2010-04-01/Accounts/AC1/Messages.json",
        auth=("AC1", "x"),
        data={"To": "+436601234567", "From": "+15005550006", "Body": "<i>Hi</i>"},
    )

    page = sandbox.http.get(sandbox.url).text

    assert paid.id in page
    assert "<script>" not in page
    assert "&lt;i&gt;Hi" in page
    assert '<iframe sandbox srcdoc="&lt;b onclick=&quot;x()&quot;&gt;' in page
    assert page.count("Approve this 3-D Secure") == 1
    form = f'action="/_sandbox/stripe/payment_intents/{asked.id}/authenticate"'
    assert form in page


def test_the_banks_page(sandbox: Any) -> None:
    paid = sandbox.intent()
    assert "succeeded" in sandbox.http.get(f"{sandbox.url}/3ds/{paid.id}").text
    assert sandbox.http.get(f"{sandbox.url}/3ds/pi_none").status_code == 404
    setup = sandbox.client().v1.setup_intents.create(
        {"confirm": True, "payment_method": "pm_card_authenticationRequired", "return_url": "http://x"}
    )
    assert "Save this card" in sandbox.http.get(f"{sandbox.url}/3ds/{setup.id}").text
    sandbox.control(f"/stripe/setup_intents/{setup.id}/authenticate", {"result": "failure"})
    assert sandbox.http.get(f"{sandbox.url}/3ds/{setup.id}").headers["location"].endswith("redirect_status=failed")
