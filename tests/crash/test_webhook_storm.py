"""Twenty thousand webhooks while all workers are down, repeated, shuffled, forged and late: each is stored once."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from api.tokens import Tokens
from bench.wire import Wire
from deploy.proof.crashtest.buyers import Buyer, Notebook
from deploy.proof.crashtest.client import Body, call, insist
from deploy.proof.crashtest.script import THREE_D_SECURE, VISA, AtTheBank, Clicks, Visit
from deploy.proof.crashtest.wait_until_idle import wait_until_idle
from deploy.proof.invariants.check import check_all
from deploy.proof.invariants.facts import gather
from sandbox.signing import stripe_headers
from tests.crash.conftest import Crashing

pytestmark = pytest.mark.crash

EVENTS = 20_000  # of which a third are new, a sixth forged, and the rest repeated
AT_ONCE = 24
BUYERS = 12
SKU = "HF-TRAIL-JKT-L-RED"
PATIENCE = 120.0
FORGED = "whsec_of_somebody_else"


def test_it_is_stored_once_and_told_truly(crashing: Crashing) -> None:
    settings, notebook = crashing.settings, Notebook()
    secret = settings.stripe_webhook_secret.get_secret_value()
    stored_before = _stored(crashing)
    with ThreadPoolExecutor(BUYERS) as street:
        paid = list(street.map(lambda _: _buy(crashing, notebook, VISA), range(3)))
        waiting = list(street.map(lambda _: _buy(crashing, notebook, THREE_D_SECURE), range(BUYERS)))
    intents = [one["next_action"]["client_secret"].split("_secret_")[0] for one in waiting]
    with _workers_down(crashing):
        for number, intent in enumerate(intents):
            if number % 3 < 2:  # a third never comes back from the bank
                result = ("success", "failure")[number % 3]
                path = f"/_sandbox/stripe/payment_intents/{intent}/authenticate"
                insist(settings.sandbox_url, "POST", path, {"result": result}, until=time.monotonic() + PATIENCE)
        genuine = _variants(_events(crashing), EVENTS // 3)
        forged = [_forgery(event) for event in genuine[: EVENTS // 6]]
        dice = random.Random(7)
        repeated = dice.choices(genuine, k=EVENTS - len(genuine) - len(forged))
        storm = [(body, secret) for body in genuine + repeated] + [(body, FORGED) for body in forged]
        dice.shuffle(storm)
        answers = asyncio.run(_send(settings.api_url, storm))
    assert answers == {200: len(genuine) + len(repeated), 400: len(forged)}
    assert wait_until_idle(settings, PATIENCE) is None
    new = {json.loads(body)["id"] for body in genuine}
    assert _stored(crashing) >= stored_before | new
    assert not {json.loads(body)["id"] for body in forged} & _stored(crashing)
    facts = gather(settings, notebook.responses)
    assert check_all(facts) == []
    ends = {checkout["id"]: checkout["status"] for checkout in facts.checkouts}
    for number, one in enumerate(waiting):
        assert ends[one["checkout_id"]] == ("confirmed", "declined", "expired")[number % 3]
    for one in paid:  # whatever was said late of a failure
        (order,) = [order for order in facts.orders if order["id"] == one["order"]["id"]]
        assert (order["status"], order["payment_status"]) == ("confirmed", "authorised")


def _buy(crashing: Crashing, notebook: Notebook, method: str) -> Body:
    """The first answer to one buyer's click."""
    visit = Visit(0, 0, ((SKU, 1),), method, AtTheBank.WALK_AWAY, Clicks.ONE, False, None, False)
    buyer = Buyer(visit, crashing.settings, Tokens.of(crashing.settings), notebook)
    assert buyer.fill_cart()
    cart = call(crashing.settings.api_url, "GET", f"/v1/carts/{buyer.cart_id}", headers=buyer.headers).body
    body = {
        "cart_id": buyer.cart_id,
        "expected_total": cart["totals"]["total"],
        "payment": {"provider": "stripe", "method": method},
    }
    headers = {**buyer.headers, "Idempotency-Key": buyer.cart_id}
    answer = insist(
        crashing.settings.api_url, "POST", "/v1/checkouts", body, headers, until=time.monotonic() + PATIENCE
    )
    assert answer.status in (201, 202), answer.raw
    return answer.body


@contextmanager
def _workers_down(crashing: Crashing) -> Iterator[None]:
    """And what the provider sends by itself waits too: the storm has all of it."""
    sandbox, supervisor = crashing.settings.sandbox_url, crashing.stack.supervisor
    until = time.monotonic() + PATIENCE
    names = crashing.workers
    insist(sandbox, "POST", "/_sandbox/webhooks", {"service": "stripe", "mode": "hold"}, until=until)
    for name in names:
        supervisor.stop(name)
    try:
        yield
    finally:
        for name in names:
            supervisor.restart(name)
        until = time.monotonic() + PATIENCE
        insist(sandbox, "POST", "/_sandbox/webhooks", {"service": "stripe", "mode": "deliver"}, until=until)
        insist(sandbox, "POST", "/_sandbox/webhooks/release", {"service": "stripe"}, until=until)


def _events(crashing: Crashing) -> list[dict[str, Any]]:
    """What the provider has to tell, as its API lists it."""
    settings = crashing.settings
    request = urllib.request.Request(
        f"{settings.sandbox_url}/v1/events?limit=100",
        headers={"Authorization": f"Bearer {settings.stripe_api_key.get_secret_value()}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        events = json.load(answer)["data"]
    return [event for event in events if event["type"].startswith("payment_intent.")]


def _variants(events: list[dict[str, Any]], count: int) -> list[str]:
    """Every one as it is, and many more that say the same, or late that it has failed, each under an id of its own."""
    assert events
    found = list(events)
    for number in range(count - len(events)):
        event = events[number % len(events)]
        type_ = "payment_intent.payment_failed" if number % 4 == 0 else event["type"]
        found.append({**event, "id": f"evt_storm{number:06d}", "type": type_})
    return [json.dumps(event) for event in found]


def _forgery(body: str) -> str:
    event = json.loads(body)
    return json.dumps({**event, "id": f"evt_forged_{event['id']}", "type": "payment_intent.amount_capturable_updated"})


async def _send(url: str, storm: list[tuple[str, str]]) -> dict[int, int]:
    """How often each status was answered."""
    wire, statuses = Wire(url), Counter[int]()
    waiting = iter(storm)

    async def sender() -> None:
        for body, secret in waiting:
            signature = stripe_headers(secret, body)["stripe-signature"]
            status, _ = await wire.call("POST", "/v1/webhooks/stripe", body, f"Stripe-Signature: {signature}\r\n")
            statuses[status] += 1

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    wire.close()
    return dict(statuses)


def _stored(crashing: Crashing) -> set[str]:
    engine = create_engine(crashing.settings.database, poolclass=NullPool)
    with engine.begin() as connection:
        found = connection.execute(text("SELECT event_id FROM webhook_events WHERE provider = 'stripe'"))
        ids = set(found.scalars())
    engine.dispose()
    return ids
