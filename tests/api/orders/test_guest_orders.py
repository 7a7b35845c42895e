"""A guest's orders appear in an account once its address is verified: those, only those, and only once."""

from __future__ import annotations

import uuid
from datetime import UTC

import pytest

from models.db.repositories.orders.claims import claim_guest_orders
from models.db.repositories.orders.orders import read_events, read_order
from models.orders.events import fold
from tests.fixtures.people import member
from tests.fixtures.shop import at_once


@pytest.fixture
def claim(shop):
    """As verification and sign-in do it; how many orders."""

    def act(user_id):
        with shop.engine.connect() as connection:
            connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                return claim_guest_orders(connection, user_id)

    return act


def bought(shop, email, customer=None):
    """A guest (or that customer), and the order that was placed with this address."""
    buyer = shop.visitor(customer=customer)
    buyer.email = email
    buyer.add()
    buyer.prepare()
    return buyer, buyer.buy()["id"]


def owner(shop, order_id):
    ((customer,),) = shop.sql("SELECT customer_id FROM orders WHERE id = :id", id=order_id)
    return customer


def new_email(start="Grete.Guest"):
    return f"{start}.{uuid.uuid4().hex[:8]}@example.com"


def test_all_of_that_address_however_its_letters_are_cased_and_nobody_elses(shop, claim):
    email = new_email()
    mine = [bought(shop, written)[1] for written in (email, email.upper(), email.lower())]
    _, of_another_guest = bought(shop, "x" + email)
    _, of_a_customer = bought(shop, email, customer="usr_another")
    user = member(shop, email=email.lower()).id
    assert claim(user) == 3
    assert [owner(shop, order) for order in mine] == [user] * 3
    assert owner(shop, of_another_guest) is None
    assert owner(shop, of_a_customer) == "usr_another"


def test_letters_beyond_ascii_are_letters_of_their_own(shop, claim):
    """Whether Ë and ë are one mailbox is its host's to say, so no order changes hands by it."""
    email = new_email("ÉLOÏSE")
    _, order = bought(shop, email)
    assert claim(member(shop, email=email.casefold()).id) == 0
    assert owner(shop, order) is None
    user = member(shop, email=email).id
    assert claim(user) == 1
    assert owner(shop, order) == user


def test_the_row_is_still_what_its_events_fold_to_and_the_ledger_is_untouched(shop, claim):
    email = new_email()
    _, order_id = bought(shop, email)
    ledger = "SELECT * FROM ledger_entries l JOIN payments p ON p.id = l.payment_id WHERE p.order_id = :id"
    before = shop.sql(ledger, id=order_id)
    user = member(shop, email=email).id
    claim(user)
    with shop.engine.connect() as connection:
        events = read_events(connection, order_id)
        stored = read_order(connection, order_id).order
    events = [event.model_copy(update={"at": event.at.astimezone(UTC)}) for event in events]
    assert fold(events, order_id) == stored
    assert stored.customer_id == user
    (claimed,) = [event for event in events if event.type == "order.claimed"]
    assert (claimed.actor.type, claimed.cause, claimed.data) == ("system", user, {"customer_id": user})
    assert before
    assert shop.sql(ledger, id=order_id) == before


def test_again_or_ten_times_at_once_is_once(shop, claim):
    email = new_email()
    orders = [bought(shop, email)[1] for _ in range(3)]
    user = member(shop, email=email).id
    assert sorted(at_once([lambda: claim(user)] * 10)) == [0] * 9 + [3]
    assert claim(user) == 0
    for order in orders:
        ((count,),) = shop.sql(
            "SELECT count(*) FROM order_events WHERE order_id = :id AND type = 'order.claimed'", id=order
        )
        assert count == 1


@pytest.mark.parametrize("how", [{"verified": False}, {"disabled": True}])
def test_an_address_that_is_not_verified_claims_nothing(shop, claim, how):
    email = new_email()
    _, order = bought(shop, email)
    user = member(shop, email=email, **how).id
    assert claim(user) == 0
    assert owner(shop, order) is None


def test_the_customer_sees_it_and_the_guests_token_still_does(shop, claim):
    email = new_email()
    guest, order = bought(shop, email)
    customer = member(shop, email=email)
    headers = shop.bearer(customer.role, customer.id)
    assert shop.get(f"/v1/orders/{order}", headers).status_code == 404
    claim(customer.id)
    assert shop.get(f"/v1/orders/{order}", headers).json()["customer_id"] == customer.id
    assert [found["id"] for found in shop.get("/v1/orders", headers).json()["items"]] == [order]
    assert guest.call("GET", f"/v1/orders/{order}").status_code == 200
    stranger = member(shop)
    for others in ({}, shop.visitor().headers, shop.bearer(stranger.role, stranger.id)):
        assert shop.get(f"/v1/orders/{order}", others).status_code == 404


def test_it_is_there_from_the_next_sign_in_on(shop):
    email = new_email()
    customer = member(shop, email=email)
    customer.login()
    _, order = bought(shop, email.upper())
    assert customer.call("GET", "/v1/orders").json()["items"] == []
    customer.login()
    assert [found["id"] for found in customer.call("GET", "/v1/orders").json()["items"]] == [order]


def test_support_finds_it_by_the_address_however_that_was_written(shop):
    email = new_email()
    _, order = bought(shop, email)
    headers = shop.bearer("support")
    for written in (email, email.upper(), email.lower()):
        assert [found["id"] for found in shop.get("/v1/orders", headers, q=written).json()["items"]] == [order]
