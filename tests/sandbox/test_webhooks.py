"""How webhooks travel: signed, in order, again and again until accepted, and as unkind as asked."""

import threading
import time
from typing import Any

import pytest
import stripe

SECRET = "whsec_sandbox"


def verified(one: Any) -> bool:
    try:
        stripe.Webhook.construct_event(one.body, one.headers["stripe-signature"], SECRET)
    except stripe.SignatureVerificationError:
        return False
    return True


def test_signed_as_stripe_signs(sandbox: Any) -> None:
    intent = sandbox.intent(metadata={"checkout_id": "co_1"})
    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 2)

    assert all(verified(one) for one in sandbox.shop.stripe)
    event = sandbox.shop.stripe[1].event
    assert (event["object"], event["type"], event["livemode"]) == ("event", "payment_intent.succeeded", False)
    assert event["data"]["object"]["id"] == intent.id
    assert event["data"]["object"]["metadata"] == {"checkout_id": "co_1"}


def test_retried_in_order_until_accepted(sandbox: Any) -> None:
    sandbox.shop.answers.extend([500, 503])
    sandbox.intent()
    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 4)

    assert sandbox.shop.types == ["payment_intent.created"] * 3 + ["payment_intent.succeeded"]
    at = [one.at for one in sandbox.shop.stripe]
    assert at[1] - at[0] >= 0.2
    assert at[2] - at[1] >= 0.4
    assert sandbox.eventually(lambda: sandbox.seen("/webhooks")["stripe"]["pending"] == 0)


def test_a_slow_one_does_not_block_the_others(sandbox: Any) -> None:
    slow = {"metadata": {"slow": "1"}, "confirm": False}
    released = threading.Event()
    sandbox.shop.stall = lambda one: b'"slow"' in one.body and released.wait(30)
    held = sandbox.intent(**slow)
    sandbox.eventually(lambda: any(held.id in one.body.decode() for one in sandbox.shop.stripe))
    fast = sandbox.intent()

    sandbox.eventually(lambda: any(fast.id in one.body.decode() for one in sandbox.shop.stripe))
    assert sandbox.seen("/webhooks")["stripe"]["pending"] > 0
    released.set()
    sandbox.eventually(lambda: sandbox.seen("/webhooks")["stripe"]["pending"] == 0)


def test_held_and_released(sandbox: Any) -> None:
    sandbox.control("/webhooks", {"service": "stripe", "mode": "hold"})
    sandbox.intent()
    time.sleep(0.1)
    assert sandbox.shop.stripe == []
    assert sandbox.seen("/webhooks")["stripe"]["held"] == 2
    assert sandbox.control("/webhooks/release", {"service": "sendgrid"}) == {"released": 0}

    assert sandbox.control("/webhooks/release") == {"released": 2}

    sandbox.eventually(lambda: sandbox.shop.types == ["payment_intent.created", "payment_intent.succeeded"])
    assert sandbox.seen("/webhooks")["stripe"]["mode"] == "hold"


def test_dropped(sandbox: Any) -> None:
    sandbox.control("/webhooks", {"service": "stripe", "mode": "drop"})
    sandbox.intent()
    sandbox.control("/webhooks", {"service": "stripe", "mode": "deliver"})
    late = sandbox.intent()

    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 2)
    assert all(one.event["data"]["object"]["id"] == late.id for one in sandbox.shop.stripe)


def test_delayed(sandbox: Any) -> None:
    sandbox.control("/webhooks", {"delay_ms": 200})
    started = time.monotonic()
    sandbox.intent()

    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 2)
    assert sandbox.shop.stripe[0].at - started >= 0.2
    assert sandbox.shop.stripe[1].at - started < 0.4  # each waits on its own, not one after the other


def test_duplicated(sandbox: Any) -> None:
    sandbox.control("/webhooks", {"service": "stripe", "duplicate": 3})
    sandbox.intent(confirm=False)

    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 3)
    assert len({one.event["id"] for one in sandbox.shop.stripe}) == 1


def test_shuffled_the_same_way_by_the_same_seed(sandbox: Any) -> None:
    orders = []
    for _ in range(2):
        sandbox.control("/webhooks", {"service": "stripe", "mode": "hold"})
        for amount in range(1001, 1007):
            sandbox.intent(amount=amount, confirm=False)
        sandbox.control("/webhooks", {"service": "stripe", "mode": "hold", "shuffle": True, "seed": 7})
        sandbox.control("/webhooks/release")
        sandbox.eventually(lambda: len(sandbox.shop.stripe) == 6)
        orders.append([one.event["data"]["object"]["amount"] for one in sandbox.shop.stripe])
        sandbox.shop.received.clear()

    assert orders[0] == orders[1] != sorted(orders[0])


def test_forged(sandbox: Any) -> None:
    sandbox.control("/webhooks", {"service": "stripe", "mode": "hold", "forge": True})
    intent = sandbox.intent(confirm=False)
    [lie] = sandbox.eventually(lambda: sandbox.shop.stripe)
    assert not verified(lie)
    assert lie.event["type"] == "payment_intent.succeeded"
    assert lie.event["data"]["object"]["amount_received"] == 1000

    sandbox.control("/webhooks/release")
    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 2)
    truth = sandbox.shop.stripe[1]
    assert verified(truth)
    assert truth.event["data"]["object"]["status"] == "requires_confirmation"
    assert truth.event["id"] != lie.event["id"]
    assert truth.event["data"]["object"]["id"] == intent.id


@pytest.mark.parametrize(
    "body",
    [
        {"service": "fax"},
        {"mode": "lose"},
        {"delay_ms": -1},
        {"duplicate": 0},
        {"seed": "x"},
        {"shuffle": 1},
        {"colour": "red"},
    ],
)
def test_settings_that_make_no_sense(sandbox: Any, body: dict[str, Any]) -> None:
    answer = sandbox.http.post(f"{sandbox.url}/_sandbox/webhooks", json=body)

    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
