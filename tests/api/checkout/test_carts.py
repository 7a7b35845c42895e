"""Carts over HTTP: every write answers the whole cart; whose it is, what it costs, what it lacks."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from models.ids import new_id
from tests.fixtures.shop import ADDRESSES, SKU, at_once, slug

SHAPE = {
    "id", "version", "currency", "country", "email", "items", "shipping_address", "billing_address", "shipping_option",
    "discounts", "tax_lines", "totals", "requirements", "warnings",
}  # fmt: skip


class TestANewCart:
    def test_has_the_shape_of_the_contract_and_a_token_for_guests(self, shop):
        answer = shop.post("/v1/carts", {"currency": "EUR", "country": "DE"})
        assert answer.status_code == 201
        cart = answer.json()
        assert cart.keys() >= SHAPE
        assert cart["id"].startswith("cart_")
        assert len(cart["token"]) >= 32
        assert (cart["currency"], cart["country"], cart["version"]) == ("EUR", "DE", 1)
        assert answer.headers["etag"] == '"1"'
        assert set(cart["requirements"]) == {"items", "email", "shipping_address", "shipping_option"}

    def test_needs_no_body(self, shop):
        answer = shop.http.post(f"{shop.url}/v1/carts")
        assert answer.status_code == 201
        assert answer.json()["currency"] == "USD"

    def test_takes_the_defaults_from_an_empty_object(self, shop):
        assert shop.post("/v1/carts", {}).status_code == 201

    def test_of_a_customer_has_no_token(self, shop):
        answer = shop.post("/v1/carts", {}, shop.bearer(Role.CUSTOMER))
        assert answer.status_code == 201
        assert "token" not in answer.json()

    def test_shows_its_token_once(self, shop):
        assert "token" not in shop.visitor().cart()


class TestWhoseItIs:
    @pytest.mark.parametrize("headers", [{}, {"X-Cart-Token": "wrong"}, {"X-Cart-Token": ""}])
    def test_without_the_right_token_there_is_no_such_cart(self, shop, headers):
        cart_id = shop.visitor().cart_id
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/shipping-options", None),
            ("POST", "/items", {"sku": SKU, "quantity": 1}),
            ("PUT", "/email", {"email": "a@example.com"}),
            ("POST", "/discounts", {"code": "WELCOME10"}),
        ):
            answer = shop.http.request(
                method, f"{shop.url}/v1/carts/{cart_id}{path}", headers=headers, **({"json": body} if body else {})
            )
            assert answer.status_code == 404, path
            assert slug(answer) == "not-found"

    def test_a_refused_write_of_a_stranger_leaves_no_trace(self, shop):
        buyer = shop.visitor()
        shop.http.put(f"{shop.url}/v1/carts/{buyer.cart_id}/email", json={"email": "a@example.com"})
        assert buyer.cart()["version"] == 1

    def test_another_guests_token_opens_nothing(self, shop):
        mine, theirs = shop.visitor(), shop.visitor()
        assert shop.get(f"/v1/carts/{mine.cart_id}", theirs.headers).status_code == 404

    def test_a_customers_cart_is_that_customers_alone(self, shop):
        mine = shop.visitor(customer=new_id("usr"))
        assert mine.cart()["id"] == mine.cart_id
        for headers in ({}, shop.bearer(Role.CUSTOMER), {"X-Cart-Token": "x"}, shop.bearer(Role.ADMIN)):
            assert shop.get(f"/v1/carts/{mine.cart_id}", headers).status_code == 404

    def test_a_customer_may_go_on_with_a_guests_cart_whose_token_he_holds(self, shop):
        guest = shop.visitor()
        headers = {**guest.headers, **shop.bearer(Role.CUSTOMER)}
        assert shop.get(f"/v1/carts/{guest.cart_id}", headers).status_code == 200


class TestItems:
    def test_the_same_sku_adds_up_on_one_line(self, shop):
        buyer = shop.visitor()
        buyer.add(SKU, 2)
        cart = buyer.add(SKU, 3)
        assert [(item["sku"], item["quantity"]) for item in cart["items"]] == [(SKU, 5)]
        assert cart["items"][0]["total"]["amount"] == 5 * cart["items"][0]["unit_price"]["amount"]

    def test_quantity_is_one_unless_it_is_said(self, shop):
        buyer = shop.visitor()
        assert buyer.change("POST", "/items", {"sku": SKU})["items"][0]["quantity"] == 1

    def test_a_line_is_changed_and_removed_by_zero_or_delete(self, shop):
        buyer = shop.visitor()
        item = buyer.add(SKU, 2)["items"][0]["id"]
        assert buyer.change("PATCH", f"/items/{item}", {"quantity": 7})["items"][0]["quantity"] == 7
        assert buyer.change("PATCH", f"/items/{item}", {"quantity": 0})["items"] == []
        again = buyer.add(SKU)["items"][0]["id"]
        assert buyer.change("DELETE", f"/items/{again}")["items"] == []

    def test_a_line_of_another_cart_is_not_found(self, shop):
        mine, theirs = shop.visitor(), shop.visitor()
        item = theirs.add(SKU)["items"][0]["id"]
        assert mine.call("PATCH", f"/v1/carts/{mine.cart_id}/items/{item}", {"quantity": 2}).status_code == 404
        assert mine.call("DELETE", f"/v1/carts/{mine.cart_id}/items/{item}").status_code == 404
        assert theirs.cart()["items"][0]["quantity"] == 1

    def test_an_unknown_sku_is_404(self, shop):
        answer = shop.visitor().call("GET", "/v1/carts/none")
        buyer = shop.visitor()
        answer = buyer.call("POST", f"/v1/carts/{buyer.cart_id}/items", {"sku": "NO-SUCH-SKU", "quantity": 1})
        assert answer.status_code == 404

    def test_more_than_there_is_is_409_with_what_is_available(self, shop):
        sku = shop.sku(stock=3)
        buyer = shop.visitor()
        buyer.add(sku, 2)
        answer = buyer.call("POST", f"/v1/carts/{buyer.cart_id}/items", {"sku": sku, "quantity": 2})
        assert answer.status_code == 409
        assert slug(answer) == "out-of-stock"
        assert answer.json()["available"] == 3
        assert buyer.cart()["items"][0]["quantity"] == 2

    def test_more_than_999_in_sum_is_422(self, shop):
        sku = shop.sku(stock=5000)
        buyer = shop.visitor()
        buyer.add(sku, 999)
        answer = buyer.call("POST", f"/v1/carts/{buyer.cart_id}/items", {"sku": sku, "quantity": 1})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/quantity"

    def test_what_has_no_price_in_the_carts_currency_is_refused(self, shop):
        buyer = shop.visitor(country="JP")
        answer = buyer.call("POST", f"/v1/carts/{buyer.cart_id}/items", {"sku": shop.sku(), "quantity": 1})
        assert answer.status_code == 422
        assert slug(answer) == "price-unavailable"

    def test_additions_at_once_all_count(self, shop):
        buyer = shop.visitor()
        at_once([lambda: buyer.add(SKU, 1)] * 8)
        cart = buyer.cart()
        assert cart["items"][0]["quantity"] == 8
        assert cart["version"] == 9

    def test_the_last_of_something_is_warned_of(self, shop):
        sku = shop.sku(stock=2)
        assert {"type": "low_stock", "sku": sku, "available": 2} in shop.buyer(sku).last["warnings"]

    def test_a_price_that_changed_since_is_warned_of(self, shop):
        sku = shop.sku(price=1000)
        buyer = shop.visitor()
        buyer.add(sku)
        shop.sql("UPDATE variant_prices SET amount = 1200 WHERE sku = :sku AND currency = 'USD'", sku=sku)
        cart = buyer.cart()
        assert cart["items"][0]["unit_price"]["amount"] == 1200
        (warning,) = [w for w in cart["warnings"] if w["type"] == "price_changed"]
        assert (warning["was"]["amount"], warning["now"]["amount"]) == (1000, 1200)


class TestVersions:
    def test_every_write_moves_the_version_and_the_etag(self, shop):
        buyer = shop.visitor()
        answer = buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/email", {"email": "a@example.com"})
        assert (answer.json()["version"], answer.headers["etag"]) == (2, '"2"')

    def test_if_match_with_the_present_version_passes(self, shop):
        buyer = shop.visitor()
        answer = buyer.call("POST", f"/v1/carts/{buyer.cart_id}/items", {"sku": SKU, "quantity": 1}, If_Match='"1"')
        assert answer.status_code == 200

    def test_if_match_with_an_older_one_is_412_and_changes_nothing(self, shop):
        buyer = shop.visitor()
        buyer.add(SKU)
        for method, path, body in (
            ("POST", "/items", {"sku": SKU, "quantity": 1}),
            ("PUT", "/email", {"email": "a@example.com"}),
            ("PUT", "/shipping-address", ADDRESSES["US"]),
        ):
            answer = buyer.call(method, f"/v1/carts/{buyer.cart_id}{path}", body, If_Match='"1"')
            assert answer.status_code == 412, path
            assert slug(answer) == "precondition-failed"
        assert buyer.cart()["version"] == 2

    @pytest.mark.parametrize("given", ["2", "abc", '"x"', '"-1"', "''", '"1", "2"'])
    def test_if_match_that_is_no_version_is_400(self, shop, given):
        buyer = shop.visitor()
        answer = buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/email", {"email": "a@example.com"}, If_Match=given)
        assert answer.status_code == 400

    def test_if_match_any_is_always_true(self, shop):
        buyer = shop.visitor()
        answer = buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/email", {"email": "a@example.com"}, If_Match="*")
        assert answer.status_code == 200

    def test_of_two_writers_with_the_same_version_one_wins(self, shop):
        buyer = shop.visitor()
        body = {"sku": SKU, "quantity": 1}
        path = f"/v1/carts/{buyer.cart_id}/items"
        answers = at_once([lambda: buyer.call("POST", path, body, If_Match='"1"')] * 6)
        assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]


class TestContact:
    @pytest.mark.parametrize(
        "email", ["x", "a@", "@b.example", "a b@example.com", "a@b", "A <a@example.com>", "a@@example.com"]
    )
    def test_what_is_no_address_is_422(self, shop, email):
        buyer = shop.visitor()
        answer = buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/email", {"email": email})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/email"

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"country": "XX"}, "/country"),
            ({"country": "us"}, "/country"),
            ({"region": None}, "/region"),
            ({"region": "ZZ"}, "/region"),
            ({"postal_code": None}, "/postal_code"),
            ({"postal_code": "ABC"}, "/postal_code"),
            ({"phone": "call me"}, "/phone"),
            ({"name": None}, "/name"),
            ({"city": ""}, "/city"),
            ({"line3": "x"}, "/line3"),
        ],
    )
    def test_an_address_is_checked_by_its_countrys_rules(self, shop, change, pointer):
        buyer = shop.visitor()
        answer = buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/shipping-address", {**ADDRESSES["US"], **change})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == pointer

    def test_a_national_phone_number_becomes_e164(self, shop):
        buyer = shop.visitor()
        cart = buyer.change("PUT", "/shipping-address", {**ADDRESSES["US"], "phone": "(415) 555-0123"})
        assert cart["shipping_address"]["phone"] == "+14155550123"

    def test_a_billing_address_stands_beside_it(self, shop):
        buyer = shop.visitor()
        cart = buyer.change("PUT", "/billing-address", ADDRESSES["DE"])
        assert cart["billing_address"]["city"] == "Berlin"
        assert cart["shipping_address"] is None


class TestShipping:
    def test_options_follow_the_address(self, shop):
        buyer = shop.visitor()
        buyer.add(SKU)
        for country, expected in (("US", "us-"), ("DE", "eu-")):
            buyer.change("PUT", "/shipping-address", ADDRESSES[country])
            found = buyer.call("GET", f"/v1/carts/{buyer.cart_id}/shipping-options").json()["items"]
            assert found
            assert all(option["id"].startswith(expected) for option in found)
            assert found[0].keys() >= {"id", "title", "price", "min_days", "max_days"}

    def test_one_that_is_not_offered_is_refused(self, shop):
        buyer = shop.buyer()
        answer = buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/shipping-option", {"id": "eu-standard"})
        assert answer.status_code == 422
        assert slug(answer) == "shipping-option-unavailable"
        assert buyer.cart()["shipping_option"]["id"] == "us-standard"

    def test_one_that_is_no_longer_offered_is_missing_again(self, shop):
        buyer = shop.buyer()
        cart = buyer.change("PUT", "/shipping-address", ADDRESSES["DE"])
        assert cart["requirements"] == ["shipping_option"]


class TestDiscounts:
    def test_a_code_counts_in_any_case_and_once(self, shop):
        buyer = shop.buyer()
        before = buyer.total["amount"]
        cart = buyer.change("POST", "/discounts", {"code": "welcome10"})
        assert cart["discounts"] == [{"code": "WELCOME10", "amount": {"amount": 1490, "currency": "USD"}}]
        assert cart["totals"]["total"]["amount"] < before
        assert buyer.change("POST", "/discounts", {"code": "WELCOME10"})["totals"] == cart["totals"]

    def test_it_can_be_taken_off_again(self, shop):
        buyer = shop.buyer()
        before = buyer.total
        buyer.change("POST", "/discounts", {"code": "WELCOME10"})
        assert buyer.change("DELETE", "/discounts/welcome10")["totals"]["total"] == before
        assert buyer.call("DELETE", f"/v1/carts/{buyer.cart_id}/discounts/WELCOME10").status_code == 404

    def test_each_refusal_has_a_type_of_its_own(self, shop):
        buyer = shop.buyer()
        used_up = shop.promotion(limit=0)
        for code, expected in (
            ("NOSUCHCODE", "discount-unknown"),
            ("EXPIRED20", "discount-expired"),
            (used_up, "discount-used-up"),
            ("TREK50", "discount-not-applicable"),
        ):
            answer = buyer.call("POST", f"/v1/carts/{buyer.cart_id}/discounts", {"code": code})
            assert (answer.status_code, slug(answer)) == (422, expected)
        assert buyer.cart()["discounts"] == []


class TestTax:
    def test_is_added_in_the_us_and_included_in_europe(self, shop):
        us, de = shop.buyer(country="US").last["totals"], shop.buyer(country="DE").last["totals"]
        parts = {name: money["amount"] for name, money in us.items()}
        assert parts["total"] == parts["items"] - parts["discount"] + parts["shipping"] + parts["tax"]
        assert parts["tax"] == 1080  # 7.25 % of 149.00
        parts = {name: money["amount"] for name, money in de.items()}
        assert parts["total"] == parts["items"] - parts["discount"] + parts["shipping"]
        assert parts["tax"] == 2539  # 19 % out of 159.00
