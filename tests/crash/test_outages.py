"""An engine or a process that is gone: nothing is charged unseen, and the same key gets the order in the end."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from api.tokens import Tokens
from deploy.proof.crashtest.buyers import Buyer, Notebook
from deploy.proof.crashtest.client import Response, Unanswered, call, insist
from deploy.proof.crashtest.script import VISA, AtTheBank, Clicks, Visit
from deploy.proof.crashtest.wait_until_idle import wait_until_idle
from deploy.proof.invariants.check import check_all
from deploy.proof.invariants.facts import gather
from tests.crash.conftest import Crashing

pytestmark = pytest.mark.crash

SKU = "HF-TRAIL-JKT-L-RED"


class Click:
    """One buyer's click, to be repeated with its key."""

    def __init__(self, crashing: Crashing) -> None:
        self.settings = crashing.settings
        self.notebook = Notebook()
        visit = Visit(0, 0, ((SKU, 1),), VISA, AtTheBank.RETURN, Clicks.ONE, False, None, False)
        buyer = Buyer(visit, self.settings, Tokens.of(self.settings), self.notebook)
        assert buyer.fill_cart()
        self.cart_id = buyer.cart_id
        self.headers = {**buyer.headers, "Idempotency-Key": uuid.uuid4().hex}
        cart = call(self.settings.api_url, "GET", f"/v1/carts/{self.cart_id}", headers=buyer.headers).body
        self.body = {
            "cart_id": self.cart_id,
            "expected_total": cart["totals"]["total"],
            "payment": {"provider": "stripe", "method": VISA},
        }

    def once(self) -> Response:
        return call(self.settings.api_url, "POST", "/v1/checkouts", self.body, self.headers)

    def until_final(self, seconds: float = 60) -> Response:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                answer = self.once()
                if answer.status < 500 and answer.status != 202:
                    return answer
            except Unanswered:
                pass
            time.sleep(0.3)
        raise AssertionError("no final answer")

    def delay_at_the_provider(self, milliseconds: int) -> None:
        script = {
            "service": "stripe",
            "match": {"path": "/v1/payment_intents", "method": "POST", "metadata": {"cart_id": self.cart_id}},
            "outcomes": [{"kind": "delay", "ms": milliseconds}],
        }
        insist(self.settings.sandbox_url, "POST", "/_sandbox/script", script, until=time.monotonic() + 10)

    def intents(self) -> list[dict[str, Any]]:
        return [i for i in gather(self.settings).intents if i["metadata"].get("cart_id") == self.cart_id]

    def all_is_well(self, *answers: Response) -> None:
        """At rest, with one order of this cart and every invariant."""
        assert wait_until_idle(self.settings, 90) is None
        facts = gather(self.settings, self.notebook.responses)
        assert check_all(facts) == []
        orders = [order["id"] for order in facts.orders if order["cart_id"] == self.cart_id]
        assert len(orders) == 1
        assert {answer.body["order"]["id"] for answer in answers} == set(orders)


@contextmanager
def without(crashing: Crashing, *names: str) -> Iterator[None]:
    supervisor = crashing.stack.supervisor
    for name in names:
        supervisor.kill(name)
    try:
        yield
    finally:
        for name in names:
            supervisor.restart(name)


def test_the_api_dies_right_after_its_answer(crashing: Crashing) -> None:
    click = Click(crashing)
    first = click.once()
    os.kill(crashing.stack.supervisor.pids["api"], signal.SIGKILL)
    again = click.until_final()
    assert (first.status, again.status, again.raw) == (201, 201, first.raw)
    click.all_is_well(first, again)


def test_the_api_dies_while_the_buyer_waits(crashing: Crashing) -> None:
    click = Click(crashing)
    click.delay_at_the_provider(1000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(click.once)
        time.sleep(0.5)
        os.kill(crashing.stack.supervisor.pids["api"], signal.SIGKILL)
        with pytest.raises(Unanswered):
            waiting.result()
    click.all_is_well(click.until_final())


def test_all_workers_dead_is_a_503_with_nothing_charged(crashing: Crashing) -> None:
    click = Click(crashing)
    with without(crashing, *crashing.workers):
        refused = click.once()
        assert refused.status == 503
        assert click.intents() == []
    click.all_is_well(click.until_final())


def test_temporal_dead_is_a_503_with_nothing_charged(crashing: Crashing) -> None:
    click = Click(crashing)
    with without(crashing, "temporal"):
        assert click.once().status == 503
    assert click.intents() == []
    click.all_is_well(click.until_final())


def test_postgresql_dies_while_the_provider_is_asked(crashing: Crashing) -> None:
    click = Click(crashing)
    click.delay_at_the_provider(1000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(click.once)
        time.sleep(0.5)
        os.kill(crashing.stack.supervisor.pids["postgres"], signal.SIGKILL)
        told = waiting.result()
    assert told.status in (201, 202, 503)
    click.all_is_well(click.until_final())


def test_what_was_charged_by_a_dead_worker_is_found_though_the_provider_is_gone_by_then(crashing: Crashing) -> None:
    """Its step runs again and reaches nobody: that must not be taken for "nothing was charged"."""
    click = Click(crashing)
    crashing.arm("authorise_payment:after")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(click.once)
        while not crashing.has_struck("authorise_payment:after"):
            time.sleep(0.005)
        with without(crashing, "sandbox"):
            told = waiting.result()
            time.sleep(6)  # the workflow task of the dead worker runs out, and another worker has its turn
        assert told.status == 202
    assert [intent["status"] for intent in click.intents()] == ["requires_capture"]
    click.all_is_well(click.until_final())
