"""Webhooks in: signed over these very bytes, stored once, harmless in any number and order."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import pytest

from sandbox import signing
from sandbox.config import SENDGRID_PRIVATE_KEY
from tests.fixtures.shop import THREE_D_SECURE, at_once, eventually, new_key, slug

SECRET = "whsec_sandbox"


def event(**changes):
    intent = {"id": f"pi_{new_key()}", "object": "payment_intent", "metadata": {}}
    return json.dumps(
        {
            "id": f"evt_{new_key()}",
            "object": "event",
            "type": "payment_intent.amount_capturable_updated",
            "data": {"object": intent},
            **changes,
        }
    )


def signed(body: str, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={stamp},v1={digest}", "Content-Type": "application/json"}


def deliver(shop, body, headers):
    return shop.http.post(f"{shop.url}/v1/webhooks/stripe", content=body, headers=headers)


class TestStripe:
    def test_a_signed_one_is_stored_once(self, shop):
        body = event()
        headers = signed(body)
        first, second = deliver(shop, body, headers), deliver(shop, body, headers)
        assert (first.status_code, second.status_code) == (200, 200)
        rows = shop.sql("SELECT type FROM webhook_events WHERE event_id = :id", id=json.loads(body)["id"])
        assert len(rows) == 1

    def test_many_at_once_are_stored_once(self, shop):
        body = event()
        headers = signed(body)
        answers = at_once([lambda: deliver(shop, body, headers)] * 10)
        assert {answer.status_code for answer in answers} == {200}
        assert len(shop.sql("SELECT 1 FROM webhook_events WHERE event_id = :id", id=json.loads(body)["id"])) == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Stripe-Signature": ""},
            {"Stripe-Signature": "t=1,v1=00"},
            {"Stripe-Signature": "nonsense"},
            {"Stripe-Signature": "t=x,v1=é"},
            {"Stripe-Signature": "t=" + "9" * 5000 + ",v1=00"},
        ],
    )
    def test_a_forged_one_is_400(self, shop, headers):
        answer = deliver(shop, event(), {name: value.encode("latin-1") for name, value in headers.items()})
        assert answer.status_code == 400
        assert slug(answer) == "bad-signature"

    def test_one_signed_by_somebody_else_is_400(self, shop):
        body = event()
        assert deliver(shop, body, signed(body, secret="whsec_other")).status_code == 400

    def test_one_that_is_older_than_five_minutes_is_400(self, shop):
        body = event()
        assert deliver(shop, body, signed(body, at=time.time() - 301)).status_code == 400

    def test_other_bytes_than_were_signed_are_400(self, shop):
        body = event()
        assert deliver(shop, body.replace("amount", "Amount"), signed(body)).status_code == 400
        assert deliver(shop, body + " ", signed(body)).status_code == 400

    @pytest.mark.parametrize(
        "body",
        [
            "{}",
            "[]",
            "null",
            "{",
            "1",
            '{"id": 1, "object": "event", "type": null, "data": {"object": {}}}',
            '{"id": "evt_1", "object": "event", "type": "x", "data": null}',
            '{"id": "evt_\\u0000", "object": "event", "type": "x", "data": {"object": {}}}',
            '{"id": "evt_\\ud800", "object": "event", "type": "x", "data": {"object": {}}}',
            '{"id": "evt_2", "object": "event", "type": "x", "data": {"object": {"id": 7, "metadata": []}}}',
        ],
    )
    def test_nonsense_that_is_rightly_signed_is_never_a_500(self, shop, body):
        assert deliver(shop, body, signed(body)).status_code in (200, 400, 422)

    def test_of_another_kind_are_taken_and_change_nothing(self, shop):
        body = event(type="customer.created", data={"object": {"id": "cus_1", "object": "customer"}})
        assert deliver(shop, body, signed(body)).status_code == 200

    def test_forged_news_confirm_nothing(self, shop, world):
        buyer = shop.buyer()
        with world.webhooks(forge=True, mode="drop"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            time.sleep(0.5)
            assert buyer.read_checkout(checkout_id)["status"] == "requires_action"
        assert shop.orders_of(buyer.cart_id) == []

    def test_rightly_signed_lies_confirm_nothing(self, shop, world):
        """An event is a reason to look; what counts is what the provider holds."""
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        (intent,) = world.intents(buyer.cart_id)
        body = event(
            type="payment_intent.succeeded",
            data={"object": {**intent, "object": "payment_intent", "status": "succeeded"}},
        )
        assert deliver(shop, body, signed(body)).status_code == 200
        time.sleep(0.5)
        assert buyer.read_checkout(checkout_id)["status"] == "requires_action"

    def test_duplicated_delayed_and_shuffled_they_make_one_order(self, shop, world):
        buyers = [shop.buyer() for _ in range(3)]
        with world.webhooks(duplicate=3, shuffle=True, seed=7, delay_ms=50):
            ids = [buyer.checkout(THREE_D_SECURE).json()["checkout_id"] for buyer in buyers]
            for buyer in buyers:
                world.authenticate(buyer.cart_id)
            for buyer, checkout_id in zip(buyers, ids, strict=True):
                assert buyer.ended(checkout_id)["status"] == "confirmed"
        for buyer in buyers:
            assert len(shop.orders_of(buyer.cart_id)) == 1
            assert world.charged(buyer.cart_id) == buyer.total["amount"]

    def test_held_back_until_after_the_end_they_change_nothing(self, shop, world):
        buyer = shop.buyer()
        with world.webhooks(mode="hold"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            world.authenticate(buyer.cart_id)
            done = buyer.resume(checkout_id).json()
        (intent,) = world.intents(buyer.cart_id)
        eventually(lambda: len(shop.sql("SELECT 1 FROM webhook_events WHERE subject = :id", id=intent["id"])) >= 1)
        assert buyer.read_checkout(checkout_id) == done


class TestSendGrid:
    def body(self, message_id: str = "msg_none") -> str:
        return json.dumps([{"event": "processed", "holdfast_message_id": message_id, "email": "a@example.com"}])

    def post(self, shop, body, headers):
        return shop.http.post(f"{shop.url}/v1/webhooks/sendgrid", content=body, headers=headers)

    def test_a_signed_one_is_taken(self, shop):
        body = self.body()
        headers = signing.sendgrid_headers(signing.sendgrid_key(SENDGRID_PRIVATE_KEY), body)
        assert self.post(shop, body, headers).status_code == 200

    def test_a_forged_one_is_400(self, shop):
        body = self.body()
        headers = signing.sendgrid_headers(signing.new_key(), body)
        answer = self.post(shop, body, headers)
        assert (answer.status_code, slug(answer)) == (400, "bad-signature")

    @pytest.mark.parametrize("signature", ["", "AAAA", "é", "not base64!", "MEUCIQ=="])
    def test_no_signature_at_all_is_400(self, shop, signature):
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": signature.encode("latin-1"),
            "X-Twilio-Email-Event-Webhook-Timestamp": b"1",
        }
        assert self.post(shop, self.body(), headers).status_code == 400

    @pytest.mark.parametrize(
        "body",
        [
            "{}",
            "null",
            "[1]",
            "[null]",
            "[[]]",
            "{",
            '[{"holdfast_message_id": 1, "event": 2}]',
            '[{"holdfast_message_id": "x"}]',
            '[{"holdfast_message_id": "\\u0000", "event": "processed"}]',
            '[{"holdfast_message_id": "\\ud800", "event": "processed"}]',
        ],
    )
    def test_nonsense_that_is_rightly_signed_is_never_a_500(self, shop, body):
        headers = signing.sendgrid_headers(signing.sendgrid_key(SENDGRID_PRIVATE_KEY), body)
        assert self.post(shop, body, headers).status_code in (200, 400, 422)
