"""A provider that does not answer costs a few buyers some seconds, then nobody; one that answers is believed."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from activities.gateways.circuit_breaker import FAILURES, guarded
from activities.gateways.payments import PaymentGateway
from models.errors import OutcomeUnknown, ProviderUnavailable
from models.money import Money
from models.payments.provider import AuthorisationRequest
from tests.activities.gateways.conftest import PATIENCE, OnPayPal, OnStripe, new_metadata, usd
from tests.fixtures.shop import at_once
from tests.sandbox.conftest import Sandbox

PAUSE = 0.3


@pytest.fixture
def gateways(sandbox: Sandbox, paypal: OnPayPal) -> dict[str, PaymentGateway]:
    return guarded({"stripe": OnStripe(sandbox).gateway, "paypal": paypal.gateway}, pause=PAUSE)


def ask(gateway: PaymentGateway, amount: Money | None = None) -> object:
    return gateway.authorise(AuthorisationRequest(amount or usd(1_000), "pm_card_visa", new_metadata(), uuid4().hex))


def silence(sandbox: Sandbox) -> None:
    sandbox.script({"kind": "timeout_before"}, path="/v1", repeat="forever")


def lost(gateway: PaymentGateway) -> None:
    with pytest.raises(OutcomeUnknown):
        ask(gateway)


def go_down(sandbox: Sandbox, gateway: PaymentGateway) -> None:
    silence(sandbox)
    at_once([lambda: lost(gateway)] * FAILURES)


def refused(gateway: PaymentGateway, amount: Money | None = None) -> ProviderUnavailable:
    began = time.monotonic()
    with pytest.raises(ProviderUnavailable) as error:
        ask(gateway, amount)
    assert time.monotonic() - began < PATIENCE, "it was asked all the same"
    return error.value


def test_calls_run_at_the_same_time(sandbox: Sandbox, gateways: dict[str, PaymentGateway]) -> None:
    sandbox.script({"kind": "delay", "ms": 250}, path="/v1", repeat="forever")
    began = time.monotonic()
    at_once([lambda: ask(gateways["stripe"])] * 12)
    assert time.monotonic() - began < 2.5  # of the three that they take in turn


def test_after_some_silences_nobody_else_waits(sandbox: Sandbox, gateways: dict[str, PaymentGateway]) -> None:
    go_down(sandbox, gateways["stripe"])
    error = refused(gateways["stripe"])
    assert (error.extra["provider"], error.extra["alternatives"]) == ("stripe", ["paypal"])
    assert refused(gateways["stripe"], Money.of(1_000, "KWD")).extra["alternatives"] == []


def test_what_is_down_itself_is_no_alternative(sandbox: Sandbox, gateways: dict[str, PaymentGateway]) -> None:
    go_down(sandbox, gateways["stripe"])
    sandbox.script({"kind": "status_before", "status": 429}, service="paypal", path="/paypal/v2")
    with pytest.raises(ProviderUnavailable) as error:
        gateways["paypal"].authorise(AuthorisationRequest(usd(1_000), "paypal", new_metadata(), "key"))
    assert error.value.extra["alternatives"] == []


def test_one_may_try_again_after_a_pause(sandbox: Sandbox, gateways: dict[str, PaymentGateway]) -> None:
    go_down(sandbox, gateways["stripe"])
    refused(gateways["stripe"])
    time.sleep(PAUSE)
    lost(gateways["stripe"])
    refused(gateways["stripe"])
    sandbox.http.delete(f"{sandbox.url}/_sandbox/script")
    time.sleep(PAUSE)
    assert ask(gateways["stripe"])
    assert ask(gateways["stripe"])


def test_any_answer_to_a_look_ends_it_at_once(sandbox: Sandbox, gateways: dict[str, PaymentGateway]) -> None:
    go_down(sandbox, gateways["stripe"])
    sandbox.http.delete(f"{sandbox.url}/_sandbox/script")
    refused(gateways["stripe"])
    gateways["stripe"].retrieve_refund("re_nothing")
    assert ask(gateways["stripe"])


def test_declines_and_refusals_are_answers(sandbox: Sandbox, gateways: dict[str, PaymentGateway]) -> None:
    for _ in range(FAILURES + 1):
        sandbox.script({"kind": "decline", "code": "insufficient_funds"}, path="/v1/payment_intents")
        ask(gateways["stripe"])
    assert ask(gateways["stripe"])
