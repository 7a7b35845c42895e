"""A guest's cart goes into the customer's: quantities add up to what there is, and twice is once."""

from __future__ import annotations

import pytest

from activities.gateways.secrets import token_digest
from models.accounts.access import Role, Scope
from models.ids import new_id
from tests.fixtures.shop import ADDRESSES, THREE_D_SECURE, at_once, eventually, slug


@pytest.fixture
def customer(shop):
    return new_id("usr")


def merge(guest, customer, *, token=None, headers=None):
    """The answer to that customer, who shows the guest's token."""
    who = guest.shop.bearer(Role.CUSTOMER, customer) if headers is None else headers
    token = guest.headers["X-Cart-Token"] if token is None else token
    return guest.shop.post(f"/v1/carts/{guest.cart_id}/merge", None, {**who, "X-Cart-Token": token})


def lines(cart):
    return {item["sku"]: item["quantity"] for item in cart["items"]}


def reduced(cart):
    return [warning for warning in cart["warnings"] if warning["type"] == "quantity_reduced"]


class TestIntoACart:
    def test_quantities_add_up_and_the_guests_cart_is_gone(self, shop, customer):
        both, mine_only, theirs_only = shop.sku(20), shop.sku(20), shop.sku(20)
        guest, mine = shop.visitor(), shop.visitor(customer=customer)
        guest.add(both, 2)
        guest.add(theirs_only, 1)
        mine.add(both, 3)
        mine.add(mine_only, 1)
        answer = merge(guest, customer)
        assert answer.status_code == 200, answer.text
        cart = answer.json()
        assert cart["id"] == mine.cart_id
        assert lines(cart) == {both: 5, mine_only: 1, theirs_only: 1}
        assert reduced(cart) == []
        assert answer.headers["etag"] == f'"{cart["version"]}"'
        assert mine.cart() == cart
        assert guest.call("GET", f"/v1/carts/{guest.cart_id}").status_code == 404

    def test_never_more_than_available_and_it_says_so(self, shop, customer):
        sku = shop.sku(7)
        guest, mine = shop.visitor(), shop.visitor(customer=customer)
        guest.add(sku, 5)
        mine.add(sku, 4)
        cart = merge(guest, customer).json()
        assert lines(cart) == {sku: 7}
        told = {"type": "quantity_reduced", "sku": sku, "wanted": 9, "quantity": 7, "available": 7}
        assert reduced(cart) == [told]

    def test_never_more_than_999(self, shop, customer):
        sku = shop.sku(5000)
        guest, mine = shop.visitor(), shop.visitor(customer=customer)
        guest.add(sku, 600)
        mine.add(sku, 600)
        cart = merge(guest, customer).json()
        assert lines(cart) == {sku: 999}
        assert reduced(cart)[0]["wanted"] == 1200

    def test_what_has_sold_out_stays_behind(self, shop, customer):
        sku = shop.sku(2)
        guest, mine = shop.visitor(), shop.visitor(customer=customer)
        guest.add(sku, 2)
        shop.buyer(sku, 2).buy()
        cart = merge(guest, customer).json()
        assert (cart["id"], lines(cart)) == (mine.cart_id, {})
        assert reduced(cart) == [
            {"type": "quantity_reduced", "sku": sku, "wanted": 2, "quantity": 0, "available": 0},
        ]

    def test_details_are_the_customers_and_where_they_lack_the_guests(self, shop, customer):
        code, other = shop.promotion(percent=10), shop.promotion(percent=20)
        guest = shop.buyer()
        guest.change("POST", "/discounts", {"code": code})
        guest.change("PUT", "/billing-address", ADDRESSES["JP"])
        mine = shop.visitor(customer=customer)
        mine.add(quantity=1)
        mine.change("POST", "/discounts", {"code": other})
        mine.change("PUT", "/shipping-address", ADDRESSES["DE"])
        cart = merge(guest, customer).json()
        assert cart["shipping_address"]["country"] == "DE"
        assert cart["billing_address"]["country"] == "JP"
        assert cart["email"] == guest.email
        shown = [discount["code"] for discount in cart["discounts"]]
        assert shown[0] == other or code in shown
        codes = shop.sql("SELECT discount_codes FROM carts WHERE id = :id", id=mine.cart_id)[0][0]
        assert codes == [other, code]

    def test_the_newest_open_one_of_the_same_currency_takes_them(self, shop, customer):
        sku = shop.sku(20)
        shop.visitor(customer=customer)
        newer = shop.visitor(customer=customer)
        shop.visitor(customer=customer, country="DE")  # in EUR
        shop.buyer(customer=customer).buy()  # closed
        guest = shop.visitor()
        guest.add(sku)
        assert merge(guest, customer).json()["id"] == newer.cart_id

    def test_one_that_is_being_bought_takes_nothing_more(self, shop, customer):
        sku = shop.sku(20)
        open_one = shop.visitor(customer=customer)
        buying = shop.buyer(sku, customer=customer)
        assert buying.checkout(THREE_D_SECURE).status_code == 202
        guest = shop.visitor()
        guest.add(sku)
        assert merge(guest, customer).json()["id"] == open_one.cart_id


class TestBecomingTheCustomers:
    def test_without_an_open_cart_the_guests_is_the_customers(self, shop, customer):
        guest = shop.buyer()
        before = guest.cart()
        cart = merge(guest, customer).json()
        assert cart == {**before, "version": before["version"] + 1}
        assert guest.call("GET", f"/v1/carts/{guest.cart_id}").status_code == 404  # the token is worth nothing now
        mine = shop.bearer(Role.CUSTOMER, customer)
        assert shop.get(f"/v1/carts/{guest.cart_id}", mine).json() == cart
        guest.headers = mine
        assert guest.buy()["customer_id"] == customer

    def test_a_cart_of_another_currency_is_none(self, shop, customer):
        shop.visitor(customer=customer, country="DE")
        guest = shop.buyer()
        assert merge(guest, customer).json()["id"] == guest.cart_id

    def test_earlier_attempts_of_it_are_the_customers_to_read(self, shop, customer):
        guest = shop.buyer()
        declined = guest.checkout("pm_card_visa_chargeDeclined").json()["checkout_id"]
        merge(guest, customer)
        answer = shop.get(f"/v1/checkouts/{declined}", shop.bearer(Role.CUSTOMER, customer))
        assert answer.json()["status"] == "declined"


class TestAgain:
    @pytest.mark.parametrize("has_cart", [True, False])
    def test_twice_is_once_in_every_byte(self, shop, customer, has_cart):
        sku = shop.sku(7)
        guest = shop.visitor()
        guest.add(sku, 5)
        if has_cart:
            shop.visitor(customer=customer).add(sku, 4)
        first = merge(guest, customer)
        assert merge(guest, customer).text == first.text
        assert lines(first.json()) == {sku: 7 if has_cart else 5}

    @pytest.mark.parametrize("has_cart", [True, False])
    def test_ten_times_at_once_is_once(self, shop, customer, has_cart):
        sku = shop.sku(50)
        guest = shop.visitor()
        guest.add(sku, 3)
        if has_cart:
            shop.visitor(customer=customer).add(sku, 4)
        answers = at_once([lambda: merge(guest, customer)] * 10)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1
        assert lines(answers[0].json()) == {sku: 7 if has_cart else 3}

    def test_two_guest_carts_at_once_end_in_one(self, shop, customer):
        sku = shop.sku(50)
        guests = [shop.visitor() for _ in range(4)]
        for guest in guests:
            guest.add(sku, 2)
        answers = at_once([lambda guest=guest: merge(guest, customer) for guest in guests])
        assert len({answer.json()["id"] for answer in answers}) == 1
        cart = shop.get(f"/v1/carts/{answers[0].json()['id']}", shop.bearer(Role.CUSTOMER, customer)).json()
        assert lines(cart) == {sku: 8}

    def test_two_customers_at_once_and_one_has_it(self, shop):
        sku = shop.sku(50)
        guest = shop.visitor()
        guest.add(sku, 2)
        customers = [new_id("usr") for _ in range(6)]
        answers = at_once([lambda who=who: merge(guest, who) for who in customers])
        assert sorted(answer.status_code for answer in answers) == [200] + [404] * 5

    def test_crosswise_nobody_waits_for_ever(self, shop):
        """Each customer takes the other's guest cart while both write to their own."""
        sku = shop.sku(900)
        for _ in range(3):
            customers = [new_id("usr"), new_id("usr")]
            guests = [shop.visitor(), shop.visitor()]
            for guest in guests:
                guest.add(sku, 1)
            mine = [shop.visitor(customer=customers[1]), shop.visitor(customer=customers[0])]
            calls = [
                lambda g=guests, c=customers: merge(g[0], c[0]),
                lambda g=guests, c=customers: merge(g[1], c[1]),
                lambda g=guests, c=customers: merge(g[0], c[1]),
                lambda g=guests, c=customers: merge(g[1], c[0]),
                lambda m=mine: m[0].call("POST", f"/v1/carts/{m[0].cart_id}/items", {"sku": sku, "quantity": 1}),
                lambda m=mine: m[1].call("POST", f"/v1/carts/{m[1].cart_id}/items", {"sku": sku, "quantity": 1}),
            ]
            answers = at_once(calls)
            assert sorted(answer.status_code for answer in answers) == [200] * 4 + [404] * 2
            assert sum(lines(cart.cart()).get(sku, 0) for cart in mine) == 4

    def test_writes_at_the_same_time_are_in_the_cart_or_refused(self, shop, customer):
        sku, other = shop.sku(500), shop.sku(500)
        mine = shop.visitor(customer=customer)
        guest = shop.visitor()
        guest.add(sku, 1)
        write = f"/v1/carts/{guest.cart_id}/items"
        answers = at_once(
            [lambda: guest.call("POST", write, {"sku": other, "quantity": 1})] * 6 + [lambda: merge(guest, customer)]
        )
        assert {answer.status_code for answer in answers[:-1]} <= {200, 404}
        taken = sum(answer.status_code == 200 for answer in answers[:-1])
        assert lines(mine.cart()).get(other, 0) == taken


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "", None),
            ("POST", "/items", {"sku": "HF-TRAIL-JKT-S-RED", "quantity": 1}),
            ("PUT", "/email", {"email": "a@example.com"}),
            ("POST", "/discounts", {"code": "X"}),
            ("GET", "/shipping-options", None),
        ],
    )
    def test_a_merged_cart_is_not_there_any_more(self, shop, customer, method, path, body):
        shop.visitor(customer=customer)
        guest = shop.visitor()
        merge(guest, customer)
        answer = guest.call(method, f"/v1/carts/{guest.cart_id}{path}", body)
        assert (answer.status_code, slug(answer)) == (404, "not-found")

    def test_nor_to_be_bought(self, shop, customer):
        shop.visitor(customer=customer)
        guest = shop.buyer()
        merge(guest, customer)
        assert guest.checkout().status_code == 404

    def test_a_wrong_token_or_none_finds_nothing(self, shop, customer):
        guest, other = shop.visitor(), shop.visitor()
        for token in ("wrong", other.headers["X-Cart-Token"], ""):
            answer = merge(guest, customer, token=token)
            assert (answer.status_code, slug(answer)) == (404, "not-found")
        assert merge(guest, customer).status_code == 200

    def test_nor_does_the_right_token_of_a_cart_that_another_customer_has_taken(self, shop, customer):
        for with_cart in (True, False):
            first = new_id("usr")
            if with_cart:
                shop.visitor(customer=first)
            guest = shop.visitor()
            merge(guest, first)
            assert merge(guest, customer).status_code == 404

    def test_another_customers_cart_is_not_there(self, shop, customer):
        mine = shop.visitor(customer=new_id("usr"))
        answer = shop.post(f"/v1/carts/{mine.cart_id}/merge", None, shop.bearer(Role.CUSTOMER, customer))
        assert answer.status_code == 404

    def test_needs_a_person(self, shop):
        guest = shop.visitor()
        assert merge(guest, None, headers={}).status_code == 401
        key = f"hf_live_{new_id('key')}"
        shop.sql(
            "INSERT INTO api_keys (id, name, hint, digest, scopes, created_by)"
            " VALUES (:id, 'x', 'x', :digest, :s, 'x')",
            id=new_id("key"),
            digest=token_digest(key),
            s=[Scope.ORDERS_WRITE],
        )
        answer = merge(guest, None, headers={"Authorization": f"Bearer {key}"})
        assert (answer.status_code, slug(answer)) == (403, "forbidden")

    def test_a_cart_that_has_become_an_order_says_which(self, shop, customer):
        guest = shop.buyer()
        order = guest.buy()
        answer = merge(guest, customer)
        assert (answer.status_code, slug(answer)) == (409, "cart-completed")
        assert answer.json()["order_id"] == order["id"]

    def test_a_cart_in_checkout_stays_where_it_is(self, shop, world, customer):
        guest = shop.buyer()
        checkout = guest.checkout(THREE_D_SECURE).json()["checkout_id"]
        answer = merge(guest, customer)
        assert (answer.status_code, slug(answer)) == (409, "checkout-in-progress")
        assert answer.json()["checkout_id"] == checkout
        world.authenticate(guest.cart_id)
        assert guest.ended(checkout)["status"] == "confirmed"

    def test_a_checkout_at_the_same_time_is_the_guests_or_is_refused(self, shop, customer):
        """Whichever comes first: an order is never the customer's in one place and nobody's in another."""
        for _ in range(4):
            guest = shop.buyer()
            bought, merged = at_once([guest.checkout, lambda guest=guest: merge(guest, customer)])
            if bought.status_code == 201:
                assert merged.status_code == 409
                assert bought.json()["order"]["customer_id"] is None
            else:
                assert (bought.status_code, merged.status_code) in {(404, 200), (409, 200)}
            rows = "SELECT customer_id, document ->> 'customer_id' FROM orders WHERE cart_id = :id"
            assert all(row[0] == row[1] for row in shop.sql(rows, id=guest.cart_id))
            assert eventually(lambda guest=guest: not self.live(shop, guest.cart_id))

    def live(self, shop, cart_id):
        return shop.sql(
            "SELECT 1 FROM checkouts WHERE cart_id = :id AND status IN ('processing', 'requires_action')", id=cart_id
        )
