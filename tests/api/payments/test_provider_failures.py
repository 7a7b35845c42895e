"""The payment provider at its worst: what is not known is looked up, and nobody pays twice or for nothing."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest

from models.accounts.access import Role
from tests.fixtures.parcels import ship
from tests.fixtures.refunds import given
from tests.fixtures.shop import THREE_D_SECURE, eventually, new_key, slug

STRIPE = {"Authorization": "Bearer sk_test_sandbox"}


class TestLostOrFailedOnce:
    @pytest.mark.parametrize(
        "outcome",
        [
            {"kind": "timeout_before"},
            {"kind": "timeout_after"},
            {"kind": "status_before", "status": 500},
            {"kind": "status_before", "status": 503},
            {"kind": "status_after", "status": 500},
            {"kind": "reset_connection_before"},
            {"kind": "reset_connection_after"},
            {"kind": "delay", "ms": 800},
        ],
        ids=lambda outcome: f"{outcome['kind']}-{outcome.get('status', '')}".strip("-"),
    )
    def test_is_one_order_and_one_charge(self, shop, world, outcome):
        buyer, key = shop.buyer(), new_key()
        world.script(buyer.cart_id, outcome)
        answer = buyer.checkout(key=key)
        assert answer.status_code == 201, answer.text
        assert world.charged(buyer.cart_id) == buyer.total["amount"]
        assert len([i for i in world.intents(buyer.cart_id) if i["status"] != "canceled"]) == 1
        assert buyer.checkout(key=key).content == answer.content

    def test_rate_limited_means_that_nothing_happened(self, shop, world):
        buyer, key = shop.buyer(), new_key()
        world.script(buyer.cart_id, {"kind": "status_before", "status": 429})
        answer = buyer.checkout(key=key)
        assert (answer.status_code, slug(answer)) == (503, "provider-unavailable")
        assert world.charged(buyer.cart_id) == 0
        assert buyer.checkout(key=key).status_code == 201


class TestFailingAgainAndAgain:
    def test_is_503_with_nothing_charged_and_the_same_key_works_later(self, shop, world):
        sku, key = shop.sku(stock=1), new_key()
        buyer = shop.buyer(sku)
        world.script(buyer.cart_id, {"kind": "status_before", "status": 500}, repeat="forever")
        answer = buyer.checkout(key=key)
        assert answer.status_code == 503, answer.text
        assert slug(answer) == "provider-unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        assert world.charged(buyer.cart_id) == 0
        assert shop.stock(sku) == (1, 0)
        world.forget_scripts()
        assert buyer.checkout(key=key).status_code == 201
        assert world.charged(buyer.cart_id) == buyer.total["amount"]

    def test_a_lost_answer_to_a_declined_card_is_a_decline(self, shop, world):
        buyer = shop.buyer()
        world.script(buyer.cart_id, {"kind": "timeout_after"})
        answer = buyer.checkout("pm_card_visa_chargeDeclined")
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert world.charged(buyer.cart_id) == 0

    def test_a_lost_answer_to_3_d_secure_still_asks_the_buyer(self, shop, world):
        buyer = shop.buyer()
        world.script(buyer.cart_id, {"kind": "reset_connection_after"})
        answer = buyer.checkout(THREE_D_SECURE)
        assert answer.status_code == 202
        assert answer.json()["next_action"]["client_secret"]
        world.authenticate(buyer.cart_id)
        assert buyer.resume(answer.json()["checkout_id"]).status_code == 200

    def test_longer_than_the_buyer_waits_is_202_and_ends_well(self, shop, world):
        buyer, key = shop.buyer(url=shop.api(checkout_deadline_seconds=1)), new_key()
        world.script(buyer.cart_id, {"kind": "timeout_after"})
        answer = buyer.checkout(key=key)
        assert answer.status_code == 202
        assert answer.json()["status"] == "processing"
        assert buyer.ended(answer.json()["checkout_id"])["status"] == "confirmed"
        assert buyer.checkout(key=key).status_code == 201
        assert world.charged(buyer.cart_id) == buyer.total["amount"]


class TestDown:
    def test_is_503_with_nothing_charged_and_the_same_key_works_later(self, shop, world):
        sku, key = shop.sku(stock=1), new_key()
        buyer = shop.buyer(sku)
        with shop.without("sandbox"):
            began = time.monotonic()
            answer = buyer.checkout(key=key)
            assert time.monotonic() - began < 8
            assert (answer.status_code, slug(answer)) == (503, "provider-unavailable")
            assert shop.stock(sku) == (1, 0)
            assert buyer.cart()["requirements"] == []
        assert world.intents(buyer.cart_id) == []
        assert buyer.checkout(key=key).status_code == 201

    def test_while_the_buyer_is_at_the_bank_is_waited_out(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        with shop.without("sandbox"):
            answer = buyer.resume(checkout_id)
            assert answer.status_code == 202
        world.authenticate(buyer.cart_id)
        assert buyer.ended(checkout_id)["status"] == "confirmed"


class TestUndo:
    def test_is_tried_again_until_the_provider_takes_it(self, shop, world):
        """The stock went away while the buyer was at the bank, and the cancellation fails at first."""
        sku = shop.sku(stock=1)
        slow = shop.buyer(sku, url=shop.api(hold_seconds=0.5))
        checkout_id = slow.checkout(THREE_D_SECURE).json()["checkout_id"]
        eventually(lambda: shop.stock(sku) == (1, 0), within=5)
        shop.buyer(sku).buy()
        (intent,) = world.intents(slow.cart_id)
        world.post(
            "/script",
            service="stripe",
            match={"path": f"/v1/payment_intents/{intent['id']}/cancel"},
            outcomes=[{"kind": "status_before", "status": 500}, {"kind": "reset_connection_before"}],
        )
        world.authenticate(slow.cart_id)
        assert slow.ended(checkout_id)["status"] == "refused"
        assert world.charged(slow.cart_id) == 0

    def test_another_amount_than_asked_goes_back_and_is_somebodys_task(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        (intent,) = world.intents(buyer.cart_id)
        with world.webhooks(mode="drop"):
            for path, form in (("", {"amount": "100"}), ("/confirm", {})):
                answer = shop.http.post(
                    f"{world.url}/v1/payment_intents/{intent['id']}{path}", data=form, headers=STRIPE
                )
                assert answer.status_code == 200, answer.text
            world.authenticate(buyer.cart_id)
            answer = buyer.resume(checkout_id)
        assert answer.status_code == 503
        assert shop.tasks(checkout_id) == ["payment-mismatch"]
        assert world.charged(buyer.cart_id) == 0
        assert shop.orders_of(buyer.cart_id) == []


class TestAnOutageThatSpoilsManyKeys:
    """Stripe repeats a 500 to its key for a day, so that what goes on after an outage needs another key."""

    SPOILT = 12
    DOWN: ClassVar = {"kind": "status_before", "status": 500}

    @pytest.fixture
    def bought(self, shop, world):
        buyer = shop.buyer()
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)

        def down(path, **match):
            match["path"] = path.format(**intent)
            world.post("/script", service="stripe", match=match, outcomes=[self.DOWN], repeat=self.SPOILT)

        return buyer, order, down

    def test_a_parcel_is_paid_once_it_is_over(self, shop, world, bought):
        buyer, order, down = bought
        down("/v1/payment_intents/{id}/capture")
        assert ship(shop, order)["captured"] == order["totals"]["total"]
        (intent,) = world.intents(buyer.cart_id)
        assert intent["amount_received"] == buyer.total["amount"]

    def test_a_refund_is_given_once_it_is_over(self, shop, world, bought):
        buyer, order, down = bought
        ship(shop, order)
        down("/v1/refunds", method="POST", metadata={"order_id": order["id"]})
        headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
        path = f"/v1/support/orders/{order['id']}/refunds"
        assert shop.post(path, {"reason": "broken"}, headers).status_code == 201

        def status():
            return shop.get(f"/v1/orders/{order['id']}", headers).json()["refunds"][0]["status"]

        eventually(lambda: status() == "succeeded")
        assert given(world, buyer) == buyer.total["amount"]
