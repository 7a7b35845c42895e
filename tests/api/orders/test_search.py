"""Orders are found by what support and buyers know of them: number, product, recipient, address, date."""

from __future__ import annotations

import json
import uuid

import pytest
from sqlalchemy import text

from models.accounts.access import Role
from models.db.repositories.orders import search as order_search
from models.db.repositories.orders.orders import lock_order
from models.ids import new_id
from tests.fixtures.shop import ADDRESSES

CHANGE = text("""
UPDATE orders SET email = :email, shipping_address = nullif(CAST(:shipping AS jsonb), 'null'::jsonb) WHERE id = :id
""")


def word():
    """That nobody else's order has."""
    return "w" + uuid.uuid4().hex[:12]


@pytest.fixture(scope="session")
def place(shop):
    """An order to a recipient of that name."""

    def act(name, *skus, customer=None):
        buyer = shop.visitor(customer=customer)
        for sku in skus or (shop.sku(),):
            buyer.add(sku)
        buyer.prepare()
        buyer.change("PUT", "/shipping-address", {**ADDRESSES["US"], "name": name})
        return buyer.buy()

    return act


@pytest.fixture(scope="session")
def found(shop):
    """Ids of the orders on the first page."""

    def act(headers=None, **params):
        answer = shop.get("/v1/orders", headers or shop.bearer(Role.SUPPORT), **params)
        assert answer.status_code == 200, answer.text
        return [order["id"] for order in answer.json()["items"]]

    return act


@pytest.fixture
def own_words(shop, place):
    """A recipient and a product that only this order has, and it."""
    first, family, sku = word(), word(), shop.sku()
    return first, family, sku, place(f"{first.title()} von {family.upper()}", sku)


def test_by_every_word_of_number_product_and_recipient(found, own_words):
    first, family, sku, order = own_words
    for query in (
        order["number"],
        order["number"][3:],
        sku,
        sku.lower(),
        first,
        family,
        f"  {family.title()}, {first}",
    ):
        assert found(q=query) == [order["id"]], query


def test_all_words_must_match(found, own_words):
    first, family, sku, order = own_words
    everything = f"{first} {family} {sku} {order['number']} made test {order['email']}"
    assert found(q=f"{first} test {sku} {order['number']} von {order['email']} {family}") == [order["id"]]
    assert found(q=f"{first} {word()}") == []
    assert found(q=everything) == []  # `made` is in the description only


def test_a_part_of_a_word_is_not_the_word(found, own_words):
    first, *_ = own_words
    assert found(q=first[:-1]) == []


def test_no_word_finds_nothing_and_a_blank_is_no_filter(shop, found, place):
    customer = new_id("usr")
    order = place("Ada Buyer", customer=customer)
    headers = shop.bearer(Role.CUSTOMER, customer)
    assert found(headers, q=" ") == found(headers, q="") == [order["id"]]
    for query in ("!!!", "—", "'", "\u200d"):
        assert found(headers, q=query) == [], query


def test_a_customer_finds_among_their_own(shop, found, place):
    name, customer, other = word(), new_id("usr"), new_id("usr")
    mine, theirs = place(name, customer=customer), place(name, customer=other)
    assert found(shop.bearer(Role.CUSTOMER, customer), q=name) == [mine["id"]]
    assert found(shop.bearer(Role.CUSTOMER, other), q=name, status="confirmed") == [theirs["id"]]
    assert found(q=name) == [theirs["id"], mine["id"]]


def test_status_and_dates_narrow_it(found, place):
    name = word()
    first, second = place(name), place(name)
    assert found(q=name, to=second["placed_at"]) == [first["id"]]
    assert found(q=name, **{"from": second["placed_at"]}) == [second["id"]]
    assert found(q=name, status="completed") == []


def test_pages_of_a_word_follow_each_other(shop, place):
    name, headers = word(), shop.bearer(Role.SUPPORT)
    ids = [place(f"{name} Ada")["id"] for _ in range(3)]
    seen, cursor = [], None
    while True:
        page = shop.get(
            "/v1/orders", headers, q=f"ada {name}", limit=1, **({"cursor": cursor} if cursor else {})
        ).json()
        seen += [order["id"] for order in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


class TestAfterAChange:
    @pytest.fixture
    def rewrite(self, shop):
        def act(order, email, shipping):
            with shop.engine.connect() as connection:
                connection.execution_options(isolation_level="READ COMMITTED")
                with connection.begin():
                    stored, _ = lock_order(connection, order["id"])
                    connection.execute(CHANGE, {"id": order["id"], "email": email, "shipping": json.dumps(shipping)})
                    order_search.rewrite_terms(connection, stored.order, email=email, shipping=shipping)

        return act

    def test_a_new_recipient_is_found_and_the_old_one_is_not(self, found, own_words, rewrite):
        first, _, sku, order = own_words
        new = word()
        for _ in range(2):  # repeated, it says the same
            rewrite(order, order["email"], {**ADDRESSES["US"], "name": f"{new} Ada"})
            assert found(q=new) == found(q=sku) == found(q=order["email"]) == [order["id"]]
            assert found(q=first) == []

    def test_an_erased_person_is_not_found(self, shop, found, own_words, rewrite):
        first, family, sku, order = own_words
        rewrite(order, None, None)
        assert found(q=first) == found(q=family) == found(q=order["email"]) == []
        assert found(q=sku) == found(q=order["number"]) == [order["id"]]
        rows = shop.sql("SELECT term FROM order_terms WHERE order_id = :id", id=order["id"])
        assert not {row.term for row in rows} & {first, family, order["email"]}
