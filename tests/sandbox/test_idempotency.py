"""Idempotency keys as Stripe documents them: one effect, the first answer again, and no mixing up."""

import socket
import threading
from typing import Any

import pytest
import stripe

PAY = {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"}
KEY = {"idempotency_key": "key-1"}


def test_a_repeat_gets_the_first_answer(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    first = intents.create(PAY, KEY)
    sandbox.client().v1.refunds.create({"payment_intent": first.id})

    again = intents.create(PAY, KEY)

    assert again.to_dict() == first.to_dict()
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert len(sandbox.seen("/stripe/payment_intents")) == 1
    calls = [call for call in sandbox.seen("/calls") if call["path"] == "/v1/payment_intents"]
    assert [(call["idempotency_key"], call["replayed"], call["status"]) for call in calls] == [
        ("key-1", False, 200),
        ("key-1", True, 200),
    ]


def test_other_parameters_or_another_path_are_an_error(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    first = intents.create({**PAY, "capture_method": "manual"}, KEY)

    for misuse in (lambda: intents.create({**PAY, "amount": 999}, KEY), lambda: intents.capture(first.id, {}, KEY)):
        with pytest.raises(stripe.IdempotencyError) as refused:
            misuse()
        assert (refused.value.http_status, refused.value.error.type) == (400, "idempotency_error")


def test_a_decline_is_saved_too(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    params = {**PAY, "payment_method": "pm_card_visa_chargeDeclined"}

    seen = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            intents.create(params, KEY)
        seen.append(declined.value.error.payment_intent.id)

    assert seen[0] == seen[1]
    assert len(sandbox.seen("/stripe/payment_intents")) == 1


def test_what_failed_validation_is_not_saved(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    with pytest.raises(stripe.InvalidRequestError):
        intents.create({**PAY, "amount": 0}, KEY)

    assert intents.create(PAY, KEY).status == "succeeded"


def test_two_at_once_and_one_is_told_to_wait(sandbox: Any) -> None:
    sandbox.script({"kind": "delay", "ms": 300})
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(sandbox.client().v1.payment_intents.create(PAY, KEY)))
    slow.start()
    sandbox.eventually(lambda: sandbox.seen("/calls"))

    with pytest.raises(stripe.StripeError) as conflict:
        sandbox.client().v1.payment_intents.create(PAY, KEY)
    with pytest.raises(stripe.IdempotencyError):
        sandbox.client().v1.payment_intents.create({**PAY, "amount": 500}, KEY)
    slow.join()

    assert (conflict.value.http_status, conflict.value.error.code) == (409, "idempotency_key_in_use")
    assert sandbox.client().v1.payment_intents.create(PAY, KEY).id == answers[0].id
    assert len(sandbox.seen("/stripe/payment_intents")) == 1


def test_a_crowd_with_one_key_pays_once(sandbox: Any) -> None:
    sandbox.script({"kind": "delay", "ms": 20}, repeat=8)
    ids: list[str] = []

    def pay() -> None:
        ids.append(sandbox.client(retries=9).v1.payment_intents.create(PAY, KEY).id)

    crowd = [threading.Thread(target=pay) for _ in range(8)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()

    assert (len(ids), len(set(ids))) == (8, 1)
    assert len(sandbox.seen("/stripe/payment_intents")) == 1


def test_keys_are_forgotten_on_demand(sandbox: Any) -> None:
    first = sandbox.client().v1.payment_intents.create(PAY, KEY)

    assert sandbox.control("/stripe/forget-keys") == {"forgotten": 1}
    assert sandbox.client().v1.payment_intents.create(PAY, KEY).id != first.id


def test_keys_expire_after_a_day_of_the_providers_clock(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    first = intents.create(PAY, KEY)
    sandbox.control("/clock", {"advance_s": 86_000})
    assert intents.create(PAY, KEY).id == first.id
    sandbox.control("/clock", {"advance_s": 500})

    second = intents.create(PAY, KEY)

    assert second.id != first.id
    assert second.created - first.created >= 86_500


def test_long_keys_are_refused_and_reads_need_none(sandbox: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.client().v1.payment_intents.create(PAY, {"idempotency_key": "k" * 256})
    sandbox.client().v1.payment_intents.list({}, KEY)

    assert sandbox.client().v1.payment_intents.create(PAY, KEY).id


def test_half_a_request_is_none(sandbox: Any) -> None:
    """A client that is killed while it sends leaves nothing behind under its key."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    head = (
        "POST /v1/payment_intents HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer sk_test_sandbox\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nIdempotency-Key: key-1\r\nContent-Length: 500\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as half:
        half.sendall(head.encode() + b"amount=1000&curr")
    intent = sandbox.client().v1.payment_intents.create(PAY, KEY)
    assert intent.status == "succeeded"
    assert len(sandbox.seen("/stripe/payment_intents")) == 1
