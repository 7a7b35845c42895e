"""Scripted fates: each kind of outcome does to a call what its name says, and to no other call."""

import socket
import time
from typing import Any

import httpx
import pytest
import stripe

PAY = {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"}
KEY = {"idempotency_key": "key-1"}


def charges(sandbox: Any) -> int:
    return len(sandbox.seen("/stripe/payment_intents"))


def statuses(sandbox: Any) -> list[Any]:
    return [call["status"] for call in sandbox.seen("/calls")]


def test_outcomes_come_in_order_and_then_life_goes_on(sandbox: Any) -> None:
    sandbox.script({"kind": "decline", "code": "insufficient_funds"}, {"kind": "decline", "code": "expired_card"})
    codes = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            sandbox.intent()
        codes.append((declined.value.code, declined.value.error.decline_code))

    assert codes == [("card_declined", "insufficient_funds"), ("expired_card", "expired_card")]
    assert sandbox.intent().status == "succeeded"
    assert sandbox.seen("/script") == []


def test_timeout_before_leaves_nothing(sandbox: Any) -> None:
    sandbox.script({"kind": "timeout_before"})
    with pytest.raises(stripe.APIConnectionError):
        sandbox.client(timeout=0.2).v1.payment_intents.create(PAY, KEY)

    assert (charges(sandbox), statuses(sandbox)) == (0, [None])
    assert "Idempotent-Replayed" not in sandbox.client().v1.payment_intents.create(PAY, KEY).last_response.headers


def test_timeout_after_leaves_the_effect_and_the_true_answer(sandbox: Any) -> None:
    sandbox.script({"kind": "timeout_after"})
    with pytest.raises(stripe.APIConnectionError):
        sandbox.client(timeout=0.2).v1.payment_intents.create(PAY, KEY)
    assert charges(sandbox) == 1

    again = sandbox.client().v1.payment_intents.create(PAY, KEY)

    assert (again.status, again.last_response.headers["Idempotent-Replayed"]) == ("succeeded", "true")
    assert (charges(sandbox), statuses(sandbox)) == (1, [None, 200])


def test_a_timeout_that_ends_cuts_the_connection(sandbox: Any) -> None:
    sandbox.script({"kind": "timeout_before", "ms": 100})
    started = time.monotonic()
    with pytest.raises(httpx.TransportError):
        sandbox.http.get(f"{sandbox.url}/v1/customers")

    assert 0.1 <= time.monotonic() - started < 2


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_reset_connections(sandbox: Any, when: str, effects: int) -> None:
    sandbox.script({"kind": f"reset_connection_{when}"})
    host, port = sandbox.url.removeprefix("http://").split(":")
    body = "amount=1000&currency=eur"
    request = (
        f"POST /v1/payment_intents HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer sk_test_1\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        wire.sendall(request.encode())
        with pytest.raises(ConnectionResetError):
            wire.recv(1)

    assert (charges(sandbox), statuses(sandbox)) == (effects, [None])


def test_the_sdks_own_retries_survive_a_reset(sandbox: Any) -> None:
    sandbox.script({"kind": "reset_connection_after"}, repeat=2)

    intent = sandbox.client(retries=2).v1.payment_intents.create(PAY)

    assert (intent.status, charges(sandbox)) == ("succeeded", 1)


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_a_500_is_saved_for_its_key(sandbox: Any, when: str, effects: int) -> None:
    sandbox.script({"kind": f"status_{when}", "status": 500})
    client = sandbox.client()
    for _ in range(2):
        with pytest.raises(stripe.APIError) as broken:
            client.v1.payment_intents.create({**PAY, "metadata": {"checkout_id": "co_1"}}, KEY)
        assert (broken.value.http_status, broken.value.error.type) == (500, "api_error")

    assert charges(sandbox) == effects
    found = client.v1.payment_intents.search({"query": "metadata['checkout_id']:'co_1'"})
    assert len(found.data) == effects


def test_a_429_is_not_saved(sandbox: Any) -> None:
    sandbox.script({"kind": "status_before", "status": 429})
    with pytest.raises(stripe.RateLimitError):
        sandbox.client().v1.payment_intents.create(PAY, KEY)

    assert sandbox.client().v1.payment_intents.create(PAY, KEY).status == "succeeded"


def test_replays_meet_scripts_too_but_change_nothing(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    first = intents.create(PAY, KEY)
    sandbox.script({"kind": "status_before", "status": 503}, {"kind": "status_after", "status": 502})
    for status in (503, 502):
        with pytest.raises(stripe.APIError) as broken:
            intents.create(PAY, KEY)
        assert broken.value.http_status == status

    assert intents.create(PAY, KEY).id == first.id


def test_delay(sandbox: Any) -> None:
    sandbox.script({"kind": "delay", "ms": 150})
    started = time.monotonic()

    assert sandbox.intent().status == "succeeded"
    assert time.monotonic() - started >= 0.15


def test_only_matching_calls_are_met(sandbox: Any) -> None:
    sandbox.script({"kind": "status_before"}, path="/v1/payment_intents", metadata={"cart_id": "c1"}, forever=True)

    assert sandbox.intent(metadata={"cart_id": "c2"}).status == "succeeded"
    assert sandbox.client().v1.customers.create({"metadata": {"cart_id": "c1"}}).id
    for _ in range(3):
        with pytest.raises(stripe.APIError):
            sandbox.intent(metadata={"cart_id": "c1", "more": "x"})


def test_a_call_on_an_object_is_matched_by_the_objects_metadata(sandbox: Any) -> None:
    intent = sandbox.intent(capture_method="manual", metadata={"cart_id": "c1"})
    sandbox.script({"kind": "status_before"}, method="post", metadata={"cart_id": "c1"})
    assert sandbox.client().v1.payment_intents.retrieve(intent.id).id

    with pytest.raises(stripe.APIError):
        sandbox.client().v1.payment_intents.capture(intent.id)
    captured = sandbox.client().v1.payment_intents.capture(intent.id)
    assert captured.status == "succeeded"
    sandbox.script({"kind": "status_before"}, path="/v1/refunds", metadata={"cart_id": "c1"})
    with pytest.raises(stripe.APIError):
        sandbox.client().v1.refunds.create({"payment_intent": intent.id})


def test_a_decline_waits_for_a_call_that_charges(sandbox: Any) -> None:
    sandbox.script({"kind": "decline", "code": "card_declined"}, path="/v1/payment_intents")
    client = sandbox.client()
    client.v1.payment_intents.search({"query": "status:'succeeded'"})
    intent = sandbox.intent(confirm=False)

    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.confirm(intent.id)
    assert declined.value.error.decline_code == "generic_decline"


def test_a_capture_can_be_declined(sandbox: Any) -> None:
    intent = sandbox.intent(capture_method="manual")
    sandbox.script({"kind": "decline", "code": "fraudulent"}, path=f"/v1/payment_intents/{intent.id}/capture")
    capture = sandbox.client().v1.payment_intents.capture

    with pytest.raises(stripe.CardError):
        capture(intent.id)
    assert capture(intent.id).status == "succeeded"


@pytest.mark.parametrize("forever", [{"repeat": "forever"}, {"forever": True}])
def test_scripts_for_ever_end_when_forgotten(sandbox: Any, forever: dict[str, Any]) -> None:
    sandbox.script({"kind": "status_before", **forever})
    for _ in range(3):
        assert sandbox.http.get(f"{sandbox.url}/v1/customers").status_code == 500

    sandbox.http.delete(f"{sandbox.url}/_sandbox/script?service=sendgrid")
    assert len(sandbox.seen("/script")) == 1
    sandbox.http.delete(f"{sandbox.url}/_sandbox/script")
    assert sandbox.http.get(f"{sandbox.url}/v1/customers").status_code == 401


def test_a_list_of_outcomes_repeats_as_a_whole(sandbox: Any) -> None:
    sandbox.script({"kind": "status_before", "status": 500}, {"kind": "status_before", "status": 503}, repeat=2)

    seen = [sandbox.http.get(f"{sandbox.url}/v1/customers").status_code for _ in range(5)]
    assert seen == [500, 503, 500, 503, 401]


@pytest.mark.parametrize(
    "script",
    [
        {"outcomes": [{"kind": "delay", "ms": 1}]},
        {"service": "fax", "outcomes": [{"kind": "delay", "ms": 1}]},
        {"service": "stripe"},
        {"service": "stripe", "outcomes": []},
        {"service": "stripe", "outcomes": ["delay"]},
        {"service": "stripe", "outcomes": [{"kind": "explode"}]},
        {"service": "stripe", "outcomes": [{"kind": "decline"}]},
        {"service": "sendgrid", "outcomes": [{"kind": "decline", "code": "x"}]},
        {"service": "stripe", "outcomes": [{"kind": "delay"}]},
        {"service": "stripe", "outcomes": [{"kind": "status_before", "status": 200}]},
        {"service": "stripe", "outcomes": [{"kind": "refund_status", "status": "lost"}]},
        {"service": "stripe", "outcomes": [{"kind": "delay", "ms": 1}], "repeat": 0},
        {"service": "stripe", "outcomes": [{"kind": "delay", "ms": 1}], "match": {"colour": 1}},
        {"service": "stripe", "outcomes": [{"kind": "delay", "ms": 1}], "match": {"metadata": "x"}},
        {"service": "stripe", "outcomes": [{"kind": "delay", "ms": 1}], "colour": 1},
        ["no object"],
    ],
)
def test_scripts_that_make_no_sense_are_refused(sandbox: Any, script: Any) -> None:
    answer = sandbox.http.post(f"{sandbox.url}/_sandbox/script", json=script)

    assert answer.status_code == 400
    assert answer.json()["error"]
