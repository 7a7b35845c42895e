"""Idempotency-Key, to the letter of api.md."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from models.db.repositories.delivery import stored_responses
from models.ids import new_id
from tests.fixtures.shop import ADDRESSES, at_once, new_key, slug


class TestCheckouts:
    def test_need_a_key(self, shop):
        buyer = shop.buyer()
        answer = buyer.call("POST", "/v1/checkouts", buyer.body())
        assert answer.status_code == 400
        assert slug(answer) == "idempotency-key-required"

    @pytest.mark.parametrize("key", ["", "a b", "k" * 256, "schlüssel", "tab\there", "\xa0"])
    def test_need_one_of_1_to_255_visible_ascii_characters(self, shop, key):
        buyer = shop.buyer()
        answer = shop.http.post(
            f"{shop.url}/v1/checkouts",
            json=buyer.body(),
            headers={**buyer.headers, "Idempotency-Key": key.encode("latin-1")},
        )
        assert answer.status_code == 400, answer.text
        assert slug(answer) in ("bad-idempotency-key", "idempotency-key-required")

    def test_take_one_of_255_characters(self, shop):
        assert shop.buyer().checkout(key="~" * 223 + new_key()).status_code == 201

    def test_repeated_give_the_same_bytes_and_say_so(self, shop):
        buyer, key = shop.buyer(), new_key()
        first = buyer.checkout(key=key)
        again = [buyer.checkout(key=key) for _ in range(3)]
        assert first.status_code == 201
        assert "idempotency-replayed" not in first.headers
        assert all(answer.status_code == 201 and answer.content == first.content for answer in again)
        assert all(answer.headers["idempotency-replayed"] == "true" for answer in again)
        assert len(shop.orders_of(buyer.cart_id)) == len(shop.world.intents(buyer.cart_id)) == 1

    def test_the_same_members_in_another_order_are_the_same_body(self, shop):
        buyer, key = shop.buyer(), new_key()
        first = buyer.checkout(key=key)
        body = dict(reversed(buyer.body().items()))
        assert buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=key).content == first.content

    def test_with_another_body_are_422(self, shop):
        buyer, key = shop.buyer(), new_key()
        buyer.checkout(key=key)
        answer = buyer.checkout("pm_card_mastercard", key=key)
        assert answer.status_code == 422
        assert slug(answer) == "idempotency-key-reused"
        assert len(shop.world.intents(buyer.cart_id)) == 1

    def test_with_another_body_while_the_first_runs_are_422(self, shop, world):
        buyer, key = shop.buyer(), new_key()
        world.script(buyer.cart_id, {"kind": "delay", "ms": 800})
        slow, other = at_once(
            [lambda: buyer.checkout(key=key), lambda: _soon(lambda: buyer.checkout("pm_card_mastercard", key=key))]
        )
        assert slow.status_code == 201
        assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")

    def test_another_callers_key_is_another_key(self, shop):
        key = new_key()
        one, two, customer = shop.buyer(), shop.buyer(), shop.buyer(customer=new_id("usr"))
        answers = [buyer.checkout(key=key) for buyer in (one, two, customer)]
        assert [answer.status_code for answer in answers] == [201] * 3
        assert len({answer.json()["order"]["id"] for answer in answers}) == 3

    def test_a_declined_one_is_kept(self, shop):
        buyer, key = shop.buyer(), new_key()
        first, second = (buyer.checkout("pm_card_visa_chargeDeclined", key=key) for _ in range(2))
        assert first.status_code == second.status_code == 402
        assert second.headers["idempotency-replayed"] == "true"
        assert second.headers["content-type"] == "application/problem+json"
        assert second.content == first.content
        assert len(shop.world.intents(buyer.cart_id)) == 1

    def test_refused_before_anything_began_leave_the_key_free(self, shop):
        buyer, key = shop.visitor(), new_key()
        body = buyer.body(expected={"amount": 100_000, "currency": "USD"})

        def attempt(body=body, **headers):
            return buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=key, **headers)

        assert slug(attempt()) == "cart-incomplete"
        assert attempt({**body, "extra": 1}).status_code == 422
        assert attempt(Content_Type="text/plain").status_code == 415
        assert attempt(Authorization="Bearer x").status_code == 401
        assert attempt({**body, "cart_id": "cart_none"}).status_code == 404
        buyer.add()
        buyer.prepare()
        assert attempt().status_code == 201

    def test_a_payment_method_that_cannot_be_used_leaves_the_key_free(self, shop):
        buyer, key = shop.buyer(), new_key()
        assert buyer.checkout("pm_card_nonsense", key=key).status_code == 422
        assert buyer.checkout(key=key).status_code == 201

    def test_a_price_that_had_risen_before_anything_began_leaves_the_key_free(self, shop):
        buyer, key = shop.buyer(), new_key()
        answer = buyer.checkout(key=key, expected={"amount": 1, "currency": "USD"})
        assert (answer.status_code, slug(answer)) == (409, "price-changed")
        assert buyer.checkout(key=key).status_code == 201

    def test_twenty_at_once_give_the_same_bytes(self, shop):
        buyer, key = shop.buyer(), new_key()
        answers = at_once([lambda: buyer.checkout(key=key)] * 20)
        final = [answer for answer in answers if answer.status_code == 201]
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert all(slug(answer) == "request-in-progress" for answer in answers if answer.status_code == 409)
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 409)
        assert len(final) >= 10
        assert len({answer.content for answer in final}) == 1
        assert buyer.checkout(key=key).content == final[0].content
        assert len(shop.orders_of(buyer.cart_id)) == len(shop.world.intents(buyer.cart_id)) == 1

    def test_a_key_that_is_answered_between_two_reads_gives_its_answer(self, shop, monkeypatch):
        """The cart is read after the key: by then the same click, sent twice, may have completed it."""
        buyer, key = shop.buyer(), new_key()
        first = buyer.checkout(key=key)
        assert first.status_code == 201
        load, stale = stored_responses.load, iter([True])

        def before_the_other(connection, digest, fingerprint):
            return load(connection, new_key() if next(stale, False) else digest, fingerprint)

        monkeypatch.setattr(stored_responses, "load", before_the_other)
        assert buyer.checkout(key=key).content == first.content


class TestOtherPosts:
    def test_of_stock_are_booked_once(self, shop):
        sku, key = shop.sku(stock=10), new_key()
        headers = {**shop.bearer(Role.WAREHOUSE, "usr_counter"), "Idempotency-Key": key}
        body = {"location": "east", "delta": -3, "reason": "broken"}
        first, second = (shop.post(f"/v1/inventory/{sku}/adjustments", body, headers) for _ in range(2))
        assert first.status_code == second.status_code == 201
        assert second.content == first.content
        assert second.headers["idempotency-replayed"] == "true"
        assert shop.stock(sku) == (7, 0)
        other = shop.post(f"/v1/inventory/{sku}/adjustments", {**body, "delta": -4}, headers)
        assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")

    def test_of_stock_at_once_are_booked_once(self, shop):
        sku, key = shop.sku(stock=10), new_key()
        headers = {**shop.bearer(Role.WAREHOUSE, "usr_counter"), "Idempotency-Key": key}
        body = {"location": "east", "delta": -1, "reason": "broken"}
        answers = at_once([lambda: shop.post(f"/v1/inventory/{sku}/adjustments", body, headers)] * 10)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert shop.stock(sku) == (9, 0)

    def test_of_parcels_ship_once(self, shop):
        order = shop.buyer(quantity=3).buy()
        headers = {**shop.bearer(Role.WAREHOUSE, "usr_packer"), "Idempotency-Key": new_key()}
        body = {
            "lines": [{"line_id": order["lines"][0]["id"], "quantity": 1}],
            "carrier": "ups",
            "tracking_number": new_key(),
        }
        path = f"/v1/fulfilment/orders/{order['id']}/shipments"
        first, second = (shop.post(path, body, headers) for _ in range(2))
        assert first.status_code == second.status_code == 201, second.text
        assert second.content == first.content
        assert second.headers["idempotency-replayed"] == "true"
        changed = shop.post(path, {**body, "carrier": "dhl"}, headers)
        assert (changed.status_code, slug(changed)) == (422, "idempotency-key-reused")
        assert shop.get(f"/v1/orders/{order['id']}", headers).json()["lines"][0]["shipped"] == 1

    def test_a_bad_key_is_refused_everywhere(self, shop):
        headers = {**shop.bearer(Role.ADMIN), "Idempotency-Key": "a b"}
        for path, body in (
            ("/v1/inventory/X/adjustments", {"location": "east", "delta": 1, "reason": "x"}),
            (
                "/v1/fulfilment/orders/ord_1/shipments",
                {"lines": [{"line_id": "l", "quantity": 1}], "carrier": "c", "tracking_number": "t"},
            ),
            ("/v1/fulfilment/shipments/shp_1/events", {"status": "delivered"}),
        ):
            assert shop.post(path, body, headers).status_code == 400, path

    def test_a_cart_takes_a_key(self, shop):
        """`accepted on every POST that creates … stock or an order`: a cart is none, but a key must do no harm."""
        answer = shop.post("/v1/carts", {}, {"Idempotency-Key": new_key()})
        assert answer.status_code == 201


def _soon(call):
    import time

    time.sleep(0.3)
    return call()


def test_addresses_fit(shop):
    """The addresses that these tests use are ones that the shop takes."""
    for country in ADDRESSES:
        shop.visitor(country=country).change("PUT", "/shipping-address", ADDRESSES[country])
