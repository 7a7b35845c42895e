"""What the audit log tells over HTTP: sign-ins, and every look of staff and machines at somebody's order."""

from __future__ import annotations

import pytest

from models.accounts.access import Role, Scope
from models.ids import new_id
from tests.fixtures.people import member
from tests.fixtures.shop import slug


@pytest.fixture(scope="module")
def admin(shop):
    admin = member(shop, role=Role.ADMIN)
    admin.login()
    return admin


@pytest.fixture(scope="module")
def order(shop):
    buyer = shop.buyer(customer=new_id("usr"))
    return buyer, buyer.buy()["id"]


def rows_of(admin, **query):
    answer = admin.call("GET", "/v1/audit?" + "&".join(f"{name}={value}" for name, value in query.items()))
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


class TestTheLog:
    def test_tells_a_sign_in(self, shop, admin):
        person = member(shop)
        person.login()
        (row,) = rows_of(admin, subject=person.id, actor=person.id)
        assert row["action"] == "session.started"
        assert row["actor"] == {"type": "customer", "id": person.id}
        assert row["data"]["method"] == "password"
        assert row["at"].endswith("Z")
        assert len(row["hash"]) == 64
        assert person.email not in str(row)

    def test_has_pages_newest_first(self, shop, admin):
        person = member(shop)
        for _ in range(3):
            person.login()
        first = admin.call("GET", f"/v1/audit?actor={person.id}&limit=2").json()
        second = admin.call("GET", f"/v1/audit?actor={person.id}&limit=2&cursor={first['next_cursor']}").json()
        numbers = [row["number"] for row in first["items"] + second["items"]]
        assert len(numbers) == 3
        assert numbers == sorted(numbers, reverse=True)
        assert second["next_cursor"] is None

    @pytest.mark.parametrize("query", ["cursor=x", "cursor=Wy0xXQ", "limit=0", "subject=a%00", "actor=" + "a" * 101])
    def test_refuses_nonsense(self, admin, query):
        assert admin.call("GET", f"/v1/audit?{query}").status_code in (400, 422)

    def test_is_for_those_who_manage_people(self, shop):
        assert slug(shop.get("/v1/audit", shop.bearer(Role.SUPPORT))) == "forbidden"


class TestALookAtSomebodysOrder:
    @pytest.mark.parametrize(
        ("path", "action"), [("", "order.read"), ("/events", "order.events_read"), ("/tracking", "order.tracking_read")]
    )
    def test_by_staff_is_one_row(self, shop, admin, order, path, action):
        _, order_id = order
        support = new_id("usr")
        assert shop.get(f"/v1/orders/{order_id}{path}", shop.bearer(Role.SUPPORT, support)).status_code == 200
        (row,) = rows_of(admin, subject=order_id, actor=support)
        assert (row["action"], row["actor"]["type"]) == (action, "staff")

    def test_by_a_machine_is_one_row(self, shop, admin, order):
        _, order_id = order
        made = admin.call("POST", "/v1/api-keys", {"name": "a machine", "scopes": [Scope.ORDERS_READ]}).json()
        assert shop.get(f"/v1/orders/{order_id}", {"Authorization": f"Bearer {made['key']}"}).status_code == 200
        (row,) = rows_of(admin, subject=order_id, actor=made["id"])
        assert row["actor"]["type"] == "machine"

    def test_by_its_owner_is_none(self, shop, admin, order):
        buyer, order_id = order
        before = rows_of(admin, subject=order_id)
        assert buyer.call("GET", f"/v1/orders/{order_id}").status_code == 200
        assert buyer.call("GET", f"/v1/orders/{order_id}/events").status_code == 200
        assert buyer.call("GET", "/v1/orders").status_code == 200
        assert rows_of(admin, subject=order_id) == before

    def test_by_staff_at_their_own_is_none(self, shop, admin):
        clerk = new_id("usr")
        order_id = shop.buyer(customer=clerk).buy()["id"]
        assert shop.get(f"/v1/orders/{order_id}", shop.bearer(Role.SUPPORT, clerk)).status_code == 200
        assert rows_of(admin, subject=order_id) == []

    def test_that_is_not_found_is_none(self, shop, admin):
        assert shop.get("/v1/orders/ord_none", shop.bearer(Role.SUPPORT)).status_code == 404
        assert rows_of(admin, subject="ord_none") == []

    @pytest.mark.parametrize(
        ("query", "kind"), [({}, None), ({"q": "ada@example.com"}, "email"), ({"q": "HF-1000"}, "words")]
    )
    def test_through_the_list_is_one_row_without_its_words(self, shop, admin, query, kind):
        support = new_id("usr")
        found = shop.get("/v1/orders", shop.bearer(Role.SUPPORT, support), **query)
        assert found.status_code == 200
        (row,) = rows_of(admin, actor=support)
        assert (row["action"], row["subject"]) == ("orders.listed", "orders")
        assert row["data"] == {"query": kind, "items": len(found.json()["items"])}
