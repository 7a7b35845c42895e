"""Webhooks of both providers: believed when the provider signed these very bytes lately, and never else."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.gateways.paypal.payments import PayPalGateway
from models.errors import BadRequest, BadSignature, ProviderUnavailable
from models.payments.provider import AuthorisationRequest, ProviderDisputeStatus, ProviderRefundStatus
from sandbox.config import SandboxConfig
from sandbox.paypal_shaped import notifications
from tests.activities.gateways.conftest import OnPayPal, Provider, new_metadata, usd
from tests.sandbox.conftest import Received, Shop


def received(provider: Provider, shop: Shop, kind: str) -> Received:
    """The first webhook of that type."""
    name = "event_type" if provider.gateway.name == "paypal" else "type"

    def look() -> Received | None:
        found = shop.at(f"/v1/webhooks/{provider.gateway.name}")
        return next((one for one in found if one.event[name] == kind), None)

    found = provider.sandbox.eventually(look)
    assert isinstance(found, Received)
    return found


def a_webhook(provider: Provider, shop: Shop) -> Received:
    provider.held(usd(1_000))
    kinds = {"stripe": "payment_intent.amount_capturable_updated", "paypal": "PAYMENT.AUTHORIZATION.CREATED"}
    return received(provider, shop, kinds[provider.gateway.name])


def signed(provider: Provider, body: bytes, at: float) -> dict[str, str]:
    """As the provider would have signed it at that moment."""
    if provider.gateway.name == "stripe":
        digest = hmac.new(b"whsec_sandbox", f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()
        return {"stripe-signature": f"t={int(at)},v1={digest}"}
    config = SandboxConfig()
    headers = notifications.headers(config.paypal_webhook_key, config.paypal_webhook_id, "https://x.example", "")
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = notifications.signature(
        config.paypal_webhook_key, headers["paypal-transmission-id"], moment, config.paypal_webhook_id, body
    )
    return {**headers, "paypal-transmission-time": moment, "paypal-transmission-sig": signature}


def test_a_webhook_tells_the_payment_and_our_checkout(provider: Provider, shop: Shop) -> None:
    metadata = new_metadata()
    reference = provider.held(usd(1_000), metadata)
    kinds = {"stripe": "payment_intent.amount_capturable_updated", "paypal": "PAYMENT.AUTHORIZATION.CREATED"}
    one = received(provider, shop, kinds[provider.gateway.name])
    event = provider.gateway.event(one.body, one.headers)
    assert (event.id, event.subject) == (one.event["id"], reference)
    assert event.checkout_id == metadata["checkout_id"]
    assert event.refund is None
    assert event.dispute is None


def test_what_was_changed_forged_or_kept_too_long_is_refused(provider: Provider, shop: Shop) -> None:
    one = a_webhook(provider, shop)
    now = time.time()
    assert provider.gateway.event(one.body, signed(provider, one.body, now)).id
    old = timedelta(days=4).total_seconds() if provider.gateway.name == "paypal" else 600
    for body, headers in (
        (one.body.replace(b": ", b":  ", 1), one.headers),
        (one.body.replace(b"1000", b"9000").replace(b"10.00", b"90.00"), one.headers),
        (one.body, {}),
        (one.body, dict.fromkeys(one.headers, "x")),
        (one.body, signed(provider, one.body, now - old)),
    ):
        with pytest.raises(BadSignature):
            provider.gateway.event(body, headers)


def test_what_is_signed_but_no_event_is_a_bad_request(provider: Provider) -> None:
    for body in (b"[]", b"{}", b'{"id": "x"}', b'{"id": "x", "event_type": "y", "resource": 1}'):
        with pytest.raises(BadRequest) as refused:
            provider.gateway.event(body, signed(provider, body, time.time()))
        assert not isinstance(refused.value, BadSignature)


def test_a_forged_webhook_of_the_sandbox_is_refused(provider: Provider, shop: Shop) -> None:
    provider.sandbox.control("/webhooks", {"service": provider.gateway.name, "mode": "drop", "forge": True})
    provider.held(usd(1_000))
    one = provider.sandbox.eventually(lambda: shop.at(f"/v1/webhooks/{provider.gateway.name}"))[0]
    with pytest.raises(BadSignature):
        provider.gateway.event(one.body, one.headers)


def test_refunds_tell_our_refund(provider: Provider, shop: Shop) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 1_000, final=True, key="shp_1:capture")
    provider.sandbox.script({"kind": "refund_status", "status": "failed"}, service=provider.gateway.name)
    provider.gateway.refund(reference, usd(300), {"refund_id": "rfd_1"}, "rfd_1:refund")
    kinds = {"stripe": "refund.failed", "paypal": "PAYMENT.REFUND.FAILED"}
    one = received(provider, shop, kinds[provider.gateway.name])
    refund = provider.gateway.event(one.body, one.headers).refund
    assert refund is not None
    assert (refund.state, refund.refund_id, refund.amount) == (ProviderRefundStatus.FAILED, "rfd_1", usd(300))
    assert refund.payment == reference


def test_disputes_tell_the_payment_and_what_is_asked(provider: Provider, shop: Shop) -> None:
    if provider.gateway.name == "stripe":
        payment = provider.gateway.authorise(
            AuthorisationRequest(usd(1_000), "pm_card_createDispute", new_metadata(), "key")
        )
        assert payment.reference
        reference = payment.reference
        provider.gateway.capture(payment.reference, 1_000, final=True, key="shp_1:capture")
        one = received(provider, shop, "charge.dispute.created")
    else:
        reference = provider.held(usd(1_000))
        provider.gateway.capture(reference, 1_000, final=True, key="shp_1:capture")
        (capture,) = provider.sandbox.seen("/paypal/captures")
        provider.sandbox.control(f"/paypal/captures/{capture['id']}/dispute")
        one = received(provider, shop, "CUSTOMER.DISPUTE.CREATED")
    event = provider.gateway.event(one.body, one.headers)
    assert event.dispute is not None
    assert (event.dispute.amount, event.dispute.state) == (usd(1_000), ProviderDisputeStatus.NEEDS_RESPONSE)
    assert event.dispute.payment == reference


def test_paypals_webhook_waits_while_paypal_cannot_be_asked(paypal: OnPayPal, shop: Shop) -> None:
    one = a_webhook(paypal, shop)
    paypal.sandbox.script({"kind": "status_before", "status": 503}, service="paypal", path="/paypal/v1/notifications")
    with pytest.raises(ProviderUnavailable):
        paypal.gateway.event(one.body, one.headers)
    assert paypal.gateway.event(one.body, one.headers).id == one.event["id"]


def test_paypals_event_cannot_speak_for_the_rest_of_the_question(paypal: OnPayPal) -> None:
    body = b'{"id": "WH-1"}, "verification": {}'
    with pytest.raises(BadRequest):
        paypal.gateway.event(body, signed(paypal, body, time.time()))


def test_an_access_token_that_was_taken_back_is_asked_for_anew(paypal: OnPayPal) -> None:
    reference = paypal.held(usd(1_000))
    paypal.sandbox.control("/clock", {"advance_s": 10 * 3600})
    assert paypal.gateway.retrieve(reference).amount == usd(1_000)
    wrong = PayPalGateway("sandbox-paypal", "wrong", base=f"{paypal.sandbox.url}/paypal")
    with pytest.raises(ProviderUnavailable):
        wrong.retrieve(reference)
    wrong.close()


def test_a_bank_that_declines_an_old_promise_is_asked_for_a_fresh_one(paypal: OnPayPal) -> None:
    reference = paypal.held(usd(1_000))
    paypal.sandbox.control("/clock", {"advance_s": 4 * 86_400})
    paypal.sandbox.script({"kind": "decline", "code": "declined"}, service="paypal", path="/paypal/v2/payments")
    assert paypal.gateway.capture(reference, 1_000, final=True, key="shp_1:capture").captured == usd(1_000)
    states: list[Any] = [one["status"] for one in paypal.sandbox.seen("/paypal/authorizations")]
    assert states == ["VOIDED", "CAPTURED"]
    assert paypal.truth(reference)["received"] == 1_000


def test_bodies_are_what_they_seem(paypal: OnPayPal, shop: Shop) -> None:
    """The same event, written by somebody else's JSON, has another checksum."""
    one = a_webhook(paypal, shop)
    with pytest.raises(BadSignature):
        paypal.gateway.event(json.dumps(json.loads(one.body), indent=1).encode(), one.headers)
