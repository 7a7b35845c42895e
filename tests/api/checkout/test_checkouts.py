"""One click over HTTP, to each of its ends: at most one charge, exactly one order or none."""

from __future__ import annotations

import pytest

from models.ids import new_id
from tests.fixtures.shop import SKU, THREE_D_SECURE, eventually, new_key, slug

DECLINES = {
    "pm_card_visa_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_visa_chargeDeclinedLostCard": "lost_card",
    "pm_card_visa_chargeDeclinedStolenCard": "stolen_card",
    "pm_card_visa_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_visa_chargeDeclinedProcessingError": "processing_error",
    "pm_card_chargeCustomerFail": "generic_decline",
}


class TestConfirmed:
    def test_the_answer_is_the_order_of_the_contract(self, shop):
        buyer = shop.buyer(quantity=2)
        answer = buyer.checkout()
        assert answer.status_code == 201
        body = answer.json()
        order = body["order"]
        assert body["checkout_id"].startswith("chk_")
        assert body["status"] == "confirmed"
        assert order.keys() >= {
            "id", "number", "status", "payment_status", "email", "currency", "lines", "totals", "addresses",
            "shipments", "refunds", "returns", "placed_at", "version",
        }  # fmt: skip
        assert (order["status"], order["payment_status"], order["version"]) == ("confirmed", "authorised", 1)
        assert order["email"] == buyer.email
        assert order["totals"] == buyer.last["totals"]
        (line,) = order["lines"]
        assert line.keys() >= {
            "id", "sku", "title", "quantity", "unit_price", "discount", "tax", "total", "shipped", "returned",
            "refunded",
        }  # fmt: skip
        assert (line["sku"], line["quantity"], line["shipped"]) == (SKU, 2, 0)

    def test_exactly_what_the_buyer_saw_is_authorised_and_nothing_captured(self, shop, world):
        buyer = shop.buyer()
        buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        assert (intent["amount"], intent["amount_received"]) == (buyer.total["amount"], 0)
        assert intent["status"] == "requires_capture"
        assert intent["metadata"].keys() >= {"checkout_id", "cart_id"}

    def test_the_stock_is_reserved_not_gone(self, shop):
        sku = shop.sku(stock=10)
        shop.buyer(sku, 3).buy()
        assert shop.stock(sku) == (10, 3)

    def test_the_cart_is_closed_and_names_the_order(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        assert buyer.cart()["completed_order"] == order["id"]
        for method, path, body in (
            ("POST", "/items", {"sku": SKU, "quantity": 1}),
            ("PATCH", f"/items/{buyer.last['items'][0]['id']}", {"quantity": 2}),
            ("DELETE", f"/items/{buyer.last['items'][0]['id']}", None),
            ("PUT", "/email", {"email": "b@example.com"}),
            ("PUT", "/shipping-option", {"id": "us-express"}),
            ("POST", "/discounts", {"code": "WELCOME10"}),
        ):
            answer = buyer.call(method, f"/v1/carts/{buyer.cart_id}{path}", body)
            assert (answer.status_code, slug(answer)) == (409, "cart-completed"), path
            assert order["id"] in answer.text
        again = buyer.checkout()
        assert (again.status_code, slug(again)) == (409, "cart-completed")

    def test_the_checkout_can_be_read_afterwards(self, shop):
        buyer = shop.buyer()
        answer = buyer.checkout().json()
        assert buyer.read_checkout(answer["checkout_id"]) == answer

    def test_it_is_nobody_elses(self, shop):
        checkout_id = shop.buyer().checkout().json()["checkout_id"]
        stranger = shop.visitor()
        assert stranger.call("GET", f"/v1/checkouts/{checkout_id}").status_code == 404
        assert stranger.call("POST", f"/v1/checkouts/{checkout_id}/resume").status_code == 404

    def test_the_books_balance(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        rows = shop.sql(
            "SELECT l.kind, l.debit, l.credit, l.amount FROM ledger_entries l JOIN payments p ON p.id = l.payment_id"
            " WHERE p.order_id = :id",
            id=order["id"],
        )
        assert [tuple(row) for row in rows] == [
            ("authorise", "provider_authorised", "authorisations", buyer.total["amount"])
        ]

    @pytest.mark.parametrize("country", ["DE", "JP", "KW"])
    def test_in_other_currencies_with_tax_inside(self, shop, world, country):
        buyer = shop.buyer(country=country)
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        totals = {name: money["amount"] for name, money in order["totals"].items()}
        assert totals["total"] == totals["items"] + totals["shipping"] - totals["discount"] == intent["amount"]
        assert intent["currency"].upper() == order["currency"] == buyer.last["currency"]

    def test_a_customer_buys_as_well(self, shop):
        customer = new_id("usr")
        order = shop.buyer(customer=customer).buy()
        assert order["customer_id"] == customer


class TestWithoutCharge:
    def test_a_zero_total_calls_no_provider(self, shop, world):
        buyer = shop.buyer()
        buyer.change("POST", "/discounts", {"code": shop.promotion(percent=100)})
        assert buyer.total["amount"] == 0
        body = {"cart_id": buyer.cart_id, "expected_total": buyer.total}
        answer = buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=new_key())
        assert answer.status_code == 201, answer.text
        assert answer.json()["order"]["payment_status"] == "not_required"
        assert world.intents(buyer.cart_id) == []

    def test_a_zero_total_takes_a_payment_method_too(self, shop, world):
        buyer = shop.buyer()
        buyer.change("POST", "/discounts", {"code": shop.promotion(percent=100)})
        assert buyer.buy()["totals"]["total"]["amount"] == 0
        assert world.intents(buyer.cart_id) == []

    def test_something_to_pay_needs_a_method(self, shop):
        buyer = shop.buyer()
        body = {"cart_id": buyer.cart_id, "expected_total": buyer.total}
        answer = buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=new_key())
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/payment"


class TestRefusedEarly:
    def test_an_incomplete_cart_is_told_what_is_missing(self, shop):
        buyer = shop.visitor()
        answer = buyer.checkout()
        assert (answer.status_code, slug(answer)) == (422, "cart-incomplete")
        assert set(answer.json()["requirements"]) == {"items", "email", "shipping_address", "shipping_option"}

    def test_a_higher_total_than_the_buyer_saw_is_409_with_the_new_totals(self, shop, world):
        sku = shop.sku(price=1000)
        buyer = shop.buyer(sku)
        shop.sql("UPDATE variant_prices SET amount = 1500 WHERE sku = :sku", sku=sku)
        answer = buyer.checkout()
        assert (answer.status_code, slug(answer)) == (409, "price-changed")
        assert answer.json()["totals"] == buyer.cart()["totals"]
        assert world.intents(buyer.cart_id) == []
        assert shop.stock(sku) == (10, 0)

    def test_a_lower_total_is_charged(self, shop, world):
        sku = shop.sku(price=2000)
        buyer = shop.buyer(sku)
        seen = buyer.total["amount"]
        shop.sql("UPDATE variant_prices SET amount = 1000 WHERE sku = :sku", sku=sku)
        order = buyer.buy()
        assert order["totals"]["total"]["amount"] < seen
        assert world.charged(buyer.cart_id) == order["totals"]["total"]["amount"]

    def test_another_currency_than_the_carts_is_422(self, shop):
        answer = shop.buyer().checkout(expected={"amount": 10**9, "currency": "EUR"})
        assert answer.status_code == 422

    def test_another_buyers_cart_is_404(self, shop):
        mine, theirs = shop.buyer(), shop.buyer()
        answer = mine.call("POST", "/v1/checkouts", theirs.body(), Idempotency_Key=new_key())
        assert answer.status_code == 404

    def test_what_sold_out_since_is_409_and_names_it(self, shop, world):
        sku = shop.sku(stock=1)
        late = shop.buyer(sku)
        shop.buyer(sku).buy()
        answer = late.checkout()
        assert (answer.status_code, slug(answer)) == (409, "out-of-stock")
        assert (answer.json()["sku"], answer.json()["available"]) == (sku, 0)
        assert world.intents(late.cart_id) == []
        assert shop.stock(sku) == (1, 1)


class TestDeclined:
    @pytest.mark.parametrize(("card", "code"), DECLINES.items())
    def test_the_cart_stays_open_and_pays_with_another_card(self, shop, world, card, code):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        answer = buyer.checkout(card)
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert answer.json()["decline_code"] == code
        assert shop.stock(sku) == (1, 0)
        assert world.charged(buyer.cart_id) == 0
        assert buyer.read_checkout(answer.json()["checkout_id"])["status"] == "declined"
        assert buyer.buy()["status"] == "confirmed"
        assert shop.stock(sku) == (1, 1)

    def test_the_problem_has_every_member_of_the_contract(self, shop):
        answer = shop.buyer().checkout("pm_card_visa_chargeDeclined")
        body = answer.json()
        assert body.keys() >= {"type", "title", "status", "detail", "instance", "request_id", "decline_code"}
        assert (body["status"], body["instance"]) == (402, "/v1/checkouts")

    def test_a_scripted_decline_is_one_as_well(self, shop, world):
        buyer = shop.buyer()
        world.script(buyer.cart_id, {"kind": "decline", "code": "do_not_honor"})
        assert buyer.checkout().json()["decline_code"] == "do_not_honor"

    def test_the_promotion_is_given_back(self, shop):
        code = shop.promotion(percent=10, limit=1)
        buyer = shop.buyer()
        buyer.change("POST", "/discounts", {"code": code})
        assert buyer.checkout("pm_card_visa_chargeDeclined").status_code == 402
        assert shop.sql("SELECT used FROM promotions WHERE code = :code", code=code)[0].used == 0
        buyer.buy()
        assert shop.sql("SELECT used FROM promotions WHERE code = :code", code=code)[0].used == 1


class TestThreeDSecure:
    def test_the_bank_is_asked_and_the_stock_is_held(self, shop):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        answer = buyer.checkout(THREE_D_SECURE)
        assert answer.status_code == 202
        body = answer.json()
        assert body["status"] == "requires_action"
        assert body["next_action"]["client_secret"]
        assert body["expires_at"].endswith("Z")
        assert shop.stock(sku) == (1, 1)
        assert buyer.read_checkout(body["checkout_id"]) == body
        other = buyer.checkout()
        assert (other.status_code, slug(other)) == (409, "checkout-in-progress")

    def test_coming_back_from_the_bank_confirms_without_any_webhook(self, shop, world):
        buyer = shop.buyer()
        with world.webhooks(mode="drop"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            world.authenticate(buyer.cart_id)
            answer = buyer.resume(checkout_id)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "confirmed"
        assert answer.json()["order"]["payment_status"] == "authorised"
        assert world.charged(buyer.cart_id) == buyer.total["amount"]

    def test_the_webhook_alone_confirms(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        world.authenticate(buyer.cart_id)
        assert buyer.ended(checkout_id, within=5)["status"] == "confirmed"

    def test_a_look_at_intervals_confirms_when_nobody_says_anything(self, shop, world):
        buyer = shop.buyer(url=shop.api(payment_lookup_seconds=0.5))
        with world.webhooks(mode="drop"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            world.authenticate(buyer.cart_id)
            assert buyer.ended(checkout_id, within=5)["status"] == "confirmed"

    def test_coming_back_too_early_changes_nothing(self, shop):
        buyer = shop.buyer()
        first = buyer.checkout(THREE_D_SECURE).json()
        answer = buyer.resume(first["checkout_id"])
        assert answer.status_code == 202
        assert answer.json() == first

    def test_the_same_key_tells_the_final_answer_afterwards(self, shop, world):
        buyer, key = shop.buyer(), new_key()
        first = buyer.checkout(THREE_D_SECURE, key=key)
        assert buyer.checkout(THREE_D_SECURE, key=key).content == first.content
        world.authenticate(buyer.cart_id)
        final = buyer.resume(first.json()["checkout_id"])
        again = buyer.checkout(THREE_D_SECURE, key=key)
        assert (again.status_code, again.content) == (201, final.content)
        assert buyer.resume(first.json()["checkout_id"]).json() == final.json()

    def test_failing_at_the_bank_is_402_and_gives_the_stock_back(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        world.authenticate(buyer.cart_id, "failure")
        answer = buyer.resume(checkout_id)
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert answer.json()["decline_code"]
        assert shop.stock(sku) == (1, 0)
        assert buyer.buy()["status"] == "confirmed"

    def test_failing_at_the_bank_is_told_by_the_webhook_too(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        world.authenticate(buyer.cart_id, "failure")
        assert buyer.ended(checkout_id, within=5)["status"] == "declined"

    def test_cancelling_at_the_provider_is_a_decline(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        (intent,) = world.intents(buyer.cart_id)
        shop.http.post(
            f"{world.url}/v1/payment_intents/{intent['id']}/cancel", headers={"Authorization": "Bearer sk_test_sandbox"}
        )
        assert buyer.ended(checkout_id, within=5)["status"] == "declined"


class TestAbandoned:
    def test_expires_at_the_provider_and_then_here(self, shop, world):
        sku, key = shop.sku(stock=1), new_key()
        buyer = shop.buyer(sku, url=shop.api(payment_action_seconds=3))
        checkout_id = buyer.checkout(THREE_D_SECURE, key=key).json()["checkout_id"]
        assert buyer.ended(checkout_id)["status"] == "expired"
        (intent,) = world.intents(buyer.cart_id)
        assert intent["status"] == "canceled"
        assert shop.stock(sku) == (1, 0)
        again = buyer.checkout(THREE_D_SECURE, key=key)
        assert (again.status_code, slug(again)) == (409, "checkout-expired")
        assert buyer.buy()["status"] == "confirmed"

    def test_keeps_everything_while_the_provider_does_not_cancel(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku, url=shop.api(payment_action_seconds=3))
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        (intent,) = world.intents(buyer.cart_id)
        cancel = f"/v1/payment_intents/{intent['id']}/cancel"
        world.post(
            "/script", service="stripe", match={"path": cancel}, outcomes=[{"kind": "status_before"}], repeat="forever"
        )
        eventually(lambda: len(world.get("/calls", service="stripe", path=cancel)) >= 2)
        assert buyer.read_checkout(checkout_id)["status"] == "requires_action"
        assert shop.stock(sku) == (1, 1)
        world.forget_scripts()
        assert buyer.ended(checkout_id)["status"] == "expired"
        assert shop.stock(sku) == (1, 0)

    def test_that_turns_out_paid_at_the_last_moment_is_an_order(self, shop, world):
        buyer = shop.buyer(url=shop.api(payment_action_seconds=3))
        with world.webhooks(mode="drop"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            world.authenticate(buyer.cart_id)
            ended = buyer.ended(checkout_id)
        # Authorised a moment before the deadline: cancelled there and expired here, or both go on. Never one of them.
        charged = world.charged(buyer.cart_id)
        assert (ended["status"], charged) in [("confirmed", buyer.total["amount"]), ("expired", 0)]


class TestAHoldShorterThanTheBank:
    def test_is_given_back_on_time_and_taken_again(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku, url=shop.api(hold_seconds=0.5))
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        assert shop.stock(sku) == (1, 1)
        eventually(lambda: shop.stock(sku) == (1, 0), within=5)
        world.authenticate(buyer.cart_id)
        assert buyer.ended(checkout_id)["status"] == "confirmed"
        assert shop.stock(sku) == (1, 1)

    def test_when_somebody_else_took_it_the_money_goes_back(self, shop, world):
        sku = shop.sku(stock=1)
        slow = shop.buyer(sku, url=shop.api(hold_seconds=0.5))
        key = new_key()
        checkout_id = slow.checkout(THREE_D_SECURE, key=key).json()["checkout_id"]
        eventually(lambda: shop.stock(sku) == (1, 0), within=5)
        shop.buyer(sku).buy()
        world.authenticate(slow.cart_id)
        assert slow.ended(checkout_id)["status"] == "refused"
        answer = slow.checkout(THREE_D_SECURE, key=key)
        assert (answer.status_code, slug(answer)) == (409, "out-of-stock")
        assert world.charged(slow.cart_id) == 0
        assert shop.stock(sku) == (1, 1)
        assert slow.resume(checkout_id).json()["status"] in ("refused", 409)
