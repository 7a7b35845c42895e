"""Orders over HTTP: who sees them, how they are listed, and what happened to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.accounts.access import Role
from models.ids import new_id
from tests.fixtures.shop import slug


class TestReading:
    def test_a_guest_reads_it_with_the_carts_token(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        answer = buyer.call("GET", f"/v1/orders/{order['id']}")
        assert answer.status_code == 200
        assert answer.json() == order

    def test_its_customer_and_support_read_it(self, shop):
        customer = new_id("usr")
        order = shop.buyer(customer=customer).buy()
        for headers in (shop.bearer(Role.CUSTOMER, customer), shop.bearer(Role.SUPPORT), shop.bearer(Role.WAREHOUSE)):
            assert shop.get(f"/v1/orders/{order['id']}", headers).status_code == 200

    def test_for_everybody_else_it_is_not_there(self, shop):
        order = shop.buyer().buy()
        for path in ("", "/events", "/tracking"):
            for headers in ({}, shop.visitor().headers, shop.bearer(Role.CUSTOMER), shop.bearer(Role.MERCHANDISER)):
                answer = shop.get(f"/v1/orders/{order['id']}{path}", headers)
                assert (answer.status_code, slug(answer)) == (404, "not-found")

    def test_times_are_utc_with_a_z(self, shop):
        assert shop.buyer().buy()["placed_at"].endswith("Z")


class TestListing:
    @pytest.fixture(scope="class")
    @classmethod
    def customer(cls, shop):
        """Somebody with five orders."""
        user = new_id("usr")
        orders = [shop.buyer(customer=user).buy() for _ in range(5)]
        return shop.bearer(Role.CUSTOMER, user), [order["id"] for order in reversed(orders)]

    def test_needs_a_sign_in(self, shop):
        assert shop.get("/v1/orders").status_code == 401

    def test_is_the_customers_own_newest_first(self, shop, customer):
        headers, ids = customer
        page = shop.get("/v1/orders", headers).json()
        assert [order["id"] for order in page["items"]] == ids
        assert page["next_cursor"] is None

    def test_pages_follow_each_other_without_gap_or_repeat(self, shop, customer):
        headers, ids = customer
        seen, cursor = [], None
        while True:
            page = shop.get("/v1/orders", headers, limit=2, **({"cursor": cursor} if cursor else {})).json()
            seen += [order["id"] for order in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == ids

    def test_a_new_order_in_between_moves_nothing(self, shop):
        user = new_id("usr")
        headers = shop.bearer(Role.CUSTOMER, user)
        first = [shop.buyer(customer=user).buy()["id"] for _ in range(3)]
        page = shop.get("/v1/orders", headers, limit=2).json()
        shop.buyer(customer=user).buy()
        rest = shop.get("/v1/orders", headers, limit=2, cursor=page["next_cursor"]).json()
        assert [order["id"] for order in rest["items"]] == [first[0]]

    def test_support_finds_by_number_and_by_address(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        support = shop.bearer(Role.SUPPORT)
        for query in (order["number"], order["number"].lower(), buyer.email, buyer.email.upper()):
            found = shop.get("/v1/orders", support, q=query).json()["items"]
            assert [each["id"] for each in found] == [order["id"]], query

    def test_a_customer_finds_nobody_elses(self, shop):
        order = shop.buyer().buy()
        assert shop.get("/v1/orders", shop.bearer(Role.CUSTOMER), q=order["number"]).json()["items"] == []

    def test_status_and_time_narrow_it(self, shop, customer):
        headers, ids = customer
        now = datetime.now(UTC)
        days = [order["placed_at"][:10] for order in shop.get("/v1/orders", headers).json()["items"]]
        before, after = (str((now + timedelta(days=days)).date()) for days in (-2, 1))
        soon, past = ((now + timedelta(minutes=m)).isoformat().replace("+00:00", "Z") for m in (5, -60))
        for params, expected in (
            ({"status": "confirmed"}, ids),
            ({"status": "cancelled"}, []),
            ({"from": past, "to": soon}, ids),
            ({"from": soon}, []),
            ({"to": past}, []),
            ({"from": min(days), "to": max(days)}, ids),
            ({"from": after}, []),
            ({"to": before}, []),
        ):
            found = shop.get("/v1/orders", headers, **params).json()["items"]
            assert [order["id"] for order in found] == expected, params

    @pytest.mark.parametrize(
        "params",
        [
            {"status": "lost"},
            {"from": "yesterday"},
            {"from": "2026-02-30"},
            {"to": "2026-13-01"},
            {"to": "9999-12-31"},
            {"q": "x" * 201},
        ],
    )
    def test_a_bad_filter_is_422(self, shop, customer, params):
        assert shop.get("/v1/orders", customer[0], **params).status_code == 422


class TestEvents:
    def test_begin_with_its_confirmation_and_carry_actor_and_cause(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        page = buyer.call("GET", f"/v1/orders/{order['id']}/events").json()
        first = page["items"][0]
        assert first.keys() >= {"version", "type", "at", "actor", "cause", "data"}
        assert (first["version"], first["type"], first["actor"]["type"]) == (1, "order.confirmed", "guest")
        assert first["cause"].startswith("chk_")

    def test_hold_no_personal_data(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        answer = buyer.call("GET", f"/v1/orders/{order['id']}/events")
        for private in (buyer.email, "Ada Buyer", "Howard", "San Francisco", "415555"):
            assert private not in answer.text

    def test_come_in_pages_oldest_first(self, shop, ship):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        ship(order, 1)
        ship(order, 1)
        seen, cursor = [], None
        while True:
            path = f"/v1/orders/{order['id']}/events?limit=2" + (f"&cursor={cursor}" if cursor else "")
            page = buyer.call("GET", path).json()
            assert len(page["items"]) <= 2
            seen += [event["version"] for event in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) >= 8

    def test_folded_again_they_are_the_order(self, shop, ship):
        from models.db.repositories.orders import orders as repository
        from models.orders.events import fold

        order = shop.buyer(quantity=2).buy()
        ship(order, 1)
        with shop.engine.connect() as connection:
            stored = repository.read_order(connection, order["id"])
            assert fold(repository.read_events(connection, order["id"]), order["id"]) == stored.order

    def test_can_be_neither_changed_nor_deleted(self, shop):
        order = shop.buyer().buy()
        for statement in (
            "UPDATE order_events SET type = 'x' WHERE order_id = :id",
            "DELETE FROM order_events WHERE order_id = :id",
        ):
            with pytest.raises(Exception, match="append-only"):
                shop.sql(statement, id=order["id"])
