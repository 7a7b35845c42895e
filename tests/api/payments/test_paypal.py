"""Paying with PayPal: approved at PayPal's page, held once, taken as parcels leave, given back when it must be."""

from __future__ import annotations

import json
import time

import pytest

from models.accounts.access import Role
from sandbox.config import SandboxConfig
from sandbox.paypal_shaped import notifications
from tests.fixtures.paypal import approve, buy, held, pay, waiting
from tests.fixtures.refunds import balances
from tests.fixtures.shop import THREE_D_SECURE, at_once, eventually, new_key, slug

ORDERS = "/paypal/v2/checkout/orders"


def script(world, buyer, outcome, path=ORDERS, **more):
    match = {"path": path, "method": "POST", "metadata": {"cart_id": buyer.cart_id}}
    world.post("/script", service="paypal", match=match, outcomes=[outcome], **more)


def event(resource, kind):
    return json.dumps({"id": f"WH-{new_key()}", "event_type": kind, "resource": resource}).encode()


def signed(body):
    config = SandboxConfig()
    return notifications.headers(config.paypal_webhook_key, config.paypal_webhook_id, "https://x", body.decode())


def deliver(shop, body, headers):
    return shop.http.post(f"{shop.url}/v1/webhooks/paypal", content=body, headers=headers)


class TestCheckout:
    def test_sends_the_buyer_to_paypal_and_is_confirmed_by_its_webhook(self, shop, world):
        buyer, key = shop.buyer(shop.sku(stock=1)), new_key()
        answer = pay(buyer, key)
        assert answer.status_code == 202, answer.text
        told = answer.json()
        (order,) = held(world, buyer)
        assert told["next_action"] == {
            "type": "redirect",
            "redirect_url": f"{world.url}/checkoutnow?token={order['id']}",
        }
        assert order["amount"] == buyer.total["amount"]
        assert order["amount_capturable"] == 0
        assert pay(buyer, key).json()["checkout_id"] == told["checkout_id"]
        approve(world, buyer)
        found = buyer.ended(told["checkout_id"])
        assert found["status"] == "confirmed"
        assert found["order"]["payment_status"] == "authorised"
        assert pay(buyer, key).status_code == 201
        (order,) = held(world, buyer)
        assert (order["status"], order["amount_capturable"]) == ("COMPLETED", buyer.total["amount"])

    def test_is_resumed_by_the_buyer_when_no_webhook_comes(self, shop, world):
        buyer = shop.buyer()
        with world.webhooks("paypal", mode="drop"):
            checkout_id = waiting(buyer)
            assert buyer.resume(checkout_id).status_code == 202
            approve(world, buyer)
            answer = buyer.resume(checkout_id)
        assert answer.status_code in (200, 201), answer.text
        assert answer.json()["order"]["status"] == "confirmed"

    def test_of_a_buyer_who_cancels_is_402_and_the_cart_can_try_again(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        checkout_id = waiting(buyer)
        approve(world, buyer, "cancel")
        answer = buyer.resume(checkout_id)
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert answer.json()["decline_code"] == "approval_cancelled"
        assert shop.stock(sku) == (1, 0)
        assert buy(world, buyer)["status"] == "confirmed"

    def test_with_a_declined_instrument_is_402_with_nothing_held(self, shop, world):
        buyer = shop.buyer()
        checkout_id = waiting(buyer)
        script(world, buyer, {"kind": "decline", "code": "card_declined"})
        approve(world, buyer)
        assert buyer.ended(checkout_id)["status"] == "declined"
        answer = buyer.resume(checkout_id)
        assert (answer.status_code, answer.json()["decline_code"]) == (402, "instrument_declined")
        assert held(world, buyer)[0]["amount_capturable"] == 0

    def test_that_nobody_approves_runs_out_and_a_late_approval_holds_nothing(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku, url=shop.api(payment_action_seconds=3))
        checkout_id = waiting(buyer)
        assert buyer.ended(checkout_id)["status"] == "expired"
        assert shop.stock(sku) == (1, 0)
        approve(world, buyer)
        eventually(lambda: not world.get("/webhooks")["paypal"]["pending"])
        assert held(world, buyer)[0]["amount_capturable"] == 0
        assert shop.orders_of(buyer.cart_id) == []

    def test_in_yen_has_no_decimals(self, shop, world):
        buyer = shop.buyer(country="JP")
        order = buy(world, buyer)
        assert order["totals"]["total"] == buyer.total
        value = held(world, buyer)[0]["paypal"]["purchase_units"][0]["amount"]["value"]
        assert value == str(buyer.total["amount"])

    @pytest.mark.parametrize(
        ("country", "payment", "pointer", "problem"),
        [
            ("KW", {}, "/payment/provider", "payment-method-invalid"),
            ("US", {"method": "pm_card_visa"}, "/payment/method", "payment-method-invalid"),
            ("US", {"save": True}, "/payment/save", "invalid-request"),
        ],
    )
    def test_of_what_paypal_does_not_take_is_422_at_once(self, shop, world, country, payment, pointer, problem):
        buyer = shop.buyer(country=country, customer=None)
        answer = pay(buyer, **payment)
        assert (answer.status_code, slug(answer)) == (422, problem)
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert held(world, buyer) == []


class TestLostAnswers:
    @pytest.mark.parametrize(
        ("step", "outcome"),
        [
            ("order", {"kind": "timeout_after"}),
            ("order", {"kind": "status_before", "status": 500}),
            ("promise", {"kind": "timeout_after"}),
            ("promise", {"kind": "status_after", "status": 503}),
        ],
        ids=lambda value: value if isinstance(value, str) else str(value["kind"]),
    )
    def test_are_one_order_and_one_promise(self, shop, world, step, outcome):
        buyer = shop.buyer()
        if step == "order":
            script(world, buyer, outcome)
        checkout_id = waiting(buyer)
        if step == "promise":
            script(world, buyer, outcome)
        (order,) = held(world, buyer)
        world.post(f"/paypal/orders/{order['id']}/approve", result="success")
        assert buyer.ended(checkout_id)["status"] == "confirmed"
        promises = [one for one in world.get("/paypal/authorizations") if one["order_id"] == order["id"]]
        assert [one["amount"] for one in promises] == [buyer.total["amount"]]
        assert len(shop.orders_of(buyer.cart_id)) == 1


class TestAfterwards:
    def test_each_parcel_takes_its_part(self, shop, world, ship):
        sku = shop.sku(stock=5, price=3333)
        buyer = shop.buyer(sku, 3)
        order = buy(world, buyer)
        first = ship(order, 1)
        assert held(world, buyer)[0]["amount_received"] == first["captured"]["amount"]
        second = ship(order, 2)
        assert second["order"]["payment_status"] == "captured"
        (paid,) = held(world, buyer)
        assert (paid["amount_received"], paid["amount_capturable"]) == (buyer.total["amount"], 0)
        assert first["captured"]["amount"] + second["captured"]["amount"] == buyer.total["amount"]

    @pytest.mark.parametrize(
        "outcome", [{"kind": "timeout_after"}, {"kind": "status_after", "status": 500}], ids=lambda o: str(o["kind"])
    )
    def test_a_lost_answer_to_a_capture_takes_once(self, shop, world, ship, outcome):
        buyer = shop.buyer()
        order = buy(world, buyer)
        script(world, buyer, outcome, path="/paypal/v2/payments/authorizations")
        ship(order, 1)
        assert held(world, buyer)[0]["amount_received"] == buyer.total["amount"]
        assert len(held(world, buyer)[0]["paypal"]["purchase_units"][0]["payments"]["captures"]) == 1

    def test_what_one_capture_gave_of_a_refund_that_failed_is_a_refund_of_its_own(self, shop, world, ship):
        """The other capture's share is free to be asked for anew, and that is all."""
        buyer = shop.buyer(shop.sku(stock=5, price=3333), 3)
        order = buy(world, buyer)
        shares = [ship(order, quantity)["captured"]["amount"] for quantity in (1, 2)]
        script(world, buyer, {"kind": "refund_status", "status": "failed"}, path="/paypal/v2/payments/captures")
        headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
        path = f"/v1/support/orders/{order['id']}/refunds"
        failed = shop.post(path, {"reason": "broken"}, headers).json()["id"]

        def refunds():
            found = shop.get(f"/v1/orders/{order['id']}", buyer.headers).json()["refunds"]
            return {refund["id"]: (refund["status"], refund["amount"]["amount"]) for refund in found}

        whole = buyer.total["amount"]
        eventually(lambda: refunds().get(failed) == ("failed", whole) and len(refunds()) == 2)
        (given,) = [found for refund_id, found in refunds().items() if refund_id != failed]
        assert given == ("succeeded", shares[1])
        assert held(world, buyer)[0]["amount_refunded"] == shares[1]
        assert balances(shop, order)["sales"] == -shares[0]

        def tasks():
            return shop.get("/v1/ops/needs-attention", headers, status="open", subject=failed).json()["items"]

        (task,) = tasks()
        answer = shop.post(f"/v1/ops/needs-attention/{task['id']}/resolve", {"outcome": "retry"}, headers)
        assert answer.status_code == 200, answer.text
        eventually(lambda: any("request a new one" in again["detail"] for again in tasks()))  # a part of it was given

        headers["Idempotency-Key"] = new_key()
        rest = shop.post(path, {"reason": "broken"}, headers)
        assert (rest.status_code, rest.json()["amount"]["amount"]) == (201, shares[0])
        eventually(lambda: held(world, buyer)[0]["amount_refunded"] == whole)
        eventually(lambda: balances(shop, order)["sales"] == 0)

    def test_a_line_of_which_one_capture_gave_its_part_gets_only_the_rest(self, shop, world, ship, give, ask, settled):
        buyer = shop.buyer(shop.sku(stock=5, price=3333), 2)
        buyer.add(shop.sku(stock=1, price=9000))
        order = buy(world, buyer.prepare())
        line, other = order["lines"]
        unit = {"line_id": line["id"], "quantity": 1}
        ship(order, lines=[unit])
        ship(order, lines=[unit, {"line_id": other["id"], "quantity": 1}])
        script(world, buyer, {"kind": "refund_status", "status": "failed"}, path="/paypal/v2/payments/captures")
        units = [{**unit, "quantity": 2}]
        failed = give(order, lines=units)["id"]
        eventually(lambda: len(settled(order)["refunds"]) == 2)
        (part,) = [one for one in settled(order)["refunds"] if one["id"] != failed]
        assert 0 < part["amount"]["amount"] < line["total"]["amount"]
        rest = give(order, lines=units)
        assert part["amount"]["amount"] + rest["amount"]["amount"] == line["total"]["amount"]
        eventually(lambda: held(world, buyer)[0]["amount_refunded"] == line["total"]["amount"])
        assert (ask(order, lines=[unit]).status_code, "shares" in rest) == (409, False)

    def test_a_cancelled_order_gives_the_promise_back(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        order = buy(world, buyer)
        answer = buyer.call("POST", f"/v1/orders/{order['id']}/cancel", {"reason": "changed my mind"})
        assert answer.status_code in (200, 202), answer.text
        eventually(lambda: held(world, buyer)[0]["amount_capturable"] == 0)
        assert held(world, buyer)[0]["amount_received"] == 0
        assert shop.stock(sku) == (1, 0)


class TestWebhooks:
    def test_are_stored_once(self, shop):
        body = event({"id": "X", "custom_id": "chk_none:1"}, "PAYMENT.AUTHORIZATION.CREATED")
        headers = signed(body)
        answers = at_once([lambda: deliver(shop, body, headers)] * 5)
        assert {answer.status_code for answer in answers} == {200}
        assert sum(not answer.json()["duplicate"] for answer in answers) == 1
        rows = shop.sql("SELECT provider FROM webhook_events WHERE event_id = :id", id=json.loads(body)["id"])
        assert [row.provider for row in rows] == ["paypal"]

    def test_that_paypal_did_not_sign_are_400_and_not_stored(self, shop):
        body = event({"id": "X"}, "PAYMENT.AUTHORIZATION.CREATED")
        old = {**signed(body), "paypal-transmission-time": "2026-01-01T00:00:00Z"}
        other = signed(event({"id": "Y"}, "PAYMENT.AUTHORIZATION.CREATED"))
        for headers in ({}, old, other, {**signed(body), "paypal-transmission-sig": "eA=="}):
            answer = deliver(shop, body, headers)
            assert (answer.status_code, slug(answer)) == (400, "bad-signature")
        assert shop.sql("SELECT 1 FROM webhook_events WHERE event_id = :id", id=json.loads(body)["id"]) == []

    def test_in_any_number_and_order_come_to_the_same_end(self, shop, world, ship):
        """Twice each, shuffled, with forgeries between; and at the end the failures that came before, once more."""
        sku = shop.sku(stock=20)
        buyers = [shop.buyer(sku) for _ in range(4)]
        with world.webhooks("paypal", mode="hold", forge=True):
            for buyer in buyers:
                failed = waiting(buyer)
                approve(world, buyer, "cancel")
                assert buyer.resume(failed).status_code == 402
                checkout_id = waiting(buyer)
                approve(world, buyer)
                assert buyer.resume(checkout_id).status_code in (200, 201)
            world.post("/webhooks", service="paypal", duplicate=3, shuffle=True, seed=7, forge=True)
            world.post("/webhooks/release", service="paypal")
            orders = [buyer.cart()["completed_order"] for buyer in buyers]
            shipments = [
                ship(shop.get(f"/v1/orders/{found}", buyer.headers).json(), 1)
                for found, buyer in zip(orders, buyers, strict=True)
            ]
            eventually(lambda: not world.get("/webhooks")["paypal"]["pending"])
        for buyer, shipment in zip(buyers, shipments, strict=True):
            order = shop.get(f"/v1/orders/{shipment['order']['id']}", buyer.headers).json()
            assert (order["status"], order["payment_status"]) == ("shipped", "captured")
            paid = [one for one in held(world, buyer) if one["status"] == "COMPLETED"]
            assert [one["amount_received"] for one in paid] == [buyer.total["amount"]]
        assert shop.stock(sku) == (16, 0)

    @pytest.mark.parametrize(
        "kind", ["PAYMENT.CAPTURE.DECLINED", "PAYMENT.AUTHORIZATION.VOIDED", "CHECKOUT.ORDER.VOIDED"]
    )
    def test_a_late_failure_never_downgrades_a_paid_order(self, shop, world, ship, kind):
        buyer = shop.buyer()
        shipment = ship(buy(world, buyer), 1)
        (paid,) = held(world, buyer)
        resource = {
            "id": "LATE",
            "status": "DECLINED",
            "custom_id": paid["metadata"]["custom_id"],
            "supplementary_data": {"related_ids": {"order_id": paid["id"]}},
        }
        body = event(resource, kind)
        assert deliver(shop, body, signed(body)).status_code == 200
        eventually(lambda: shop.sql("SELECT count(*) AS n FROM outbox")[0].n == 0)
        order = shop.get(f"/v1/orders/{shipment['order']['id']}", buyer.headers).json()
        assert (order["status"], order["payment_status"]) == ("shipped", "captured")
        assert buyer.read_checkout(paid["metadata"]["checkout_id"])["status"] == "confirmed"

    def test_a_late_failure_of_a_card_never_downgrades_a_paid_order(self, shop, world, ship):
        buyer = shop.buyer()
        with world.webhooks("stripe", mode="hold"):
            failed = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            world.authenticate(buyer.cart_id, "failure")
            assert buyer.resume(failed).status_code == 402
            shipment = ship(buyer.buy(), 1)
            world.post("/webhooks", service="stripe", duplicate=2, shuffle=True, seed=3)
            world.post("/webhooks/release", service="stripe")
            eventually(lambda: not world.get("/webhooks")["stripe"]["pending"])
        order = shop.get(f"/v1/orders/{shipment['order']['id']}", buyer.headers).json()
        assert (order["status"], order["payment_status"]) == ("shipped", "captured")


class TestOutage:
    def test_of_one_provider_names_the_other_and_the_same_cart_pays_there(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        world.script(buyer.cart_id, {"kind": "status_before", "status": 429})
        answer = buyer.checkout()
        assert (answer.status_code, slug(answer)) == (503, "provider-unavailable")
        assert answer.json()["provider"] == "stripe"
        assert answer.json()["alternatives"] == ["paypal"]
        assert world.charged(buyer.cart_id) == 0
        assert shop.stock(sku) == (1, 0)
        assert buy(world, buyer)["payment_status"] == "authorised"

    def test_of_paypal_names_cards(self, shop, world):
        buyer = shop.buyer()
        script(world, buyer, {"kind": "status_before", "status": 429})
        answer = pay(buyer)
        assert (answer.status_code, answer.json()["alternatives"]) == (503, ["stripe"])
        assert buyer.buy()["status"] == "confirmed"

    def test_costs_a_few_buyers_some_seconds_and_then_nobody(self, shop, world):
        buyers = [shop.buyer() for _ in range(10)]
        script = {"service": "stripe", "match": {"path": "/v1"}, "outcomes": [{"kind": "timeout_before"}]}
        world.post("/script", **script, repeat="forever")
        try:
            crowd, last = buyers[:-1], buyers[-1]
            waiting_room = shop.api(checkout_deadline_seconds=4)
            for buyer in crowd:
                buyer.url = waiting_room
            assert {answer.status_code for answer in at_once([buyer.checkout for buyer in crowd])} <= {202, 503}
            began = time.monotonic()
            answer = last.checkout()
            assert time.monotonic() - began < 3  # of the four that the crowd waited
            assert (answer.status_code, answer.json()["alternatives"]) == (503, ["paypal"])
            assert buy(world, last)["status"] == "confirmed"
        finally:
            world.forget_scripts()
        eventually(lambda: shop.buyer().checkout().status_code == 201, within=15)
