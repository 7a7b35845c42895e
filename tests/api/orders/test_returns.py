"""Goods that come back: announced by their buyer, received once, back on their shelf and paid back in the same step."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from models.ids import order_workflow, return_workflow
from tests.fixtures.shop import at_once, eventually, new_key, slug


def lines_of(order, quantity=1, **more):
    return [{"line_id": line["id"], "quantity": quantity, **more} for line in order["lines"]]


def announce(buyer, order, quantity=1, *, lines=None, key=None):
    body = {"lines": lines_of(order, quantity) if lines is None else lines}
    headers = {"Idempotency_Key": key} if key else {}
    return buyer.call("POST", f"/v1/orders/{order['id']}/returns", body, **headers)


def announced(buyer, order, quantity=1, **more):
    answer = announce(buyer, order, quantity, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def read(buyer, order):
    return buyer.call("GET", f"/v1/orders/{order['id']}").json()


@pytest.fixture(scope="session")
def receive(shop, warehouse):
    """The answer."""

    def act(request, body=None, *, key=None):
        headers = {**warehouse, **({"Idempotency-Key": key} if key else {})}
        path = f"{shop.url}/v1/fulfilment/returns/{request['id']}/receive"
        return shop.http.post(path, json={} if body is None else body, headers=headers)

    return act


@pytest.fixture(scope="session")
def refuse(shop):
    headers = shop.bearer(Role.SUPPORT, "usr_support")

    def act(request, reason=None):
        return shop.post(f"/v1/support/returns/{request['id']}/refuse", {"reason": reason}, headers)

    return act


@pytest.fixture
def shipped(shop, ship):
    """A buyer, their order of some units of a SKU of its own, all of it on its way, and the SKU."""

    def make(quantity=2, *, stock=10, price=5000, **more):
        sku = shop.sku(stock=stock, price=price)
        buyer = shop.buyer(sku, quantity, **more)
        order = buyer.buy()
        ship(order, quantity)
        return buyer, order, sku

    return make


class TestAnnouncing:
    def test_tells_what_may_come_back_until_when_and_where_the_order_stands(self, shop, world, shipped):
        buyer, order, sku = shipped(2)
        request = announced(buyer, order, lines=lines_of(order, reason="Too small"))
        assert request["id"].startswith("ret_")
        assert (request["order_id"], request["order_number"]) == (order["id"], order["number"])
        assert (request["status"], request["refund"]) == ("requested", None)
        (line,) = request["lines"]
        assert (line["sku"], line["quantity"], line["received"], line["reason"]) == (sku, 1, 0, "Too small")
        assert request["expires_at"] > request["requested_at"]
        assert request["order"]["status"] == "return_requested"
        assert [r["id"] for r in request["order"]["returns"]] == [request["id"]]
        eventually(lambda: shop.running(return_workflow(request["id"])))
        (mail,) = eventually(lambda: [m for m in world.mail(buyer.email) if "your return" in m["subject"]])
        assert request["id"] in mail["text"]

    def test_keeps_what_the_buyer_wrote_out_of_the_events(self, shop, shipped):
        buyer, order, _ = shipped(1)
        announced(buyer, order, lines=lines_of(order, reason="It smells of Aunt Ida"))
        written = shop.sql("SELECT data::text FROM order_events WHERE order_id = :id", id=order["id"])
        assert not [row for row in written if "Ida" in row.data]

    def test_is_listed_with_its_order(self, shipped):
        buyer, order, _ = shipped(2)
        first, second = announced(buyer, order), announced(buyer, order)
        page = buyer.call("GET", f"/v1/orders/{order['id']}/returns").json()
        assert [item["id"] for item in page["items"]] == [first["id"], second["id"]]
        assert page["next_cursor"] is None

    def test_never_takes_more_than_was_shipped_and_is_not_on_its_way_back(self, shipped, receive):
        buyer, order, _ = shipped(3)
        answer = announce(buyer, order, 4)
        assert (answer.status_code, slug(answer)) == (409, "not-enough-to-return")
        assert (answer.json()["left"], answer.json()["line_id"]) == (3, order["lines"][0]["id"])
        announced(buyer, order, 2)
        assert announce(buyer, order, 2).json()["left"] == 1
        assert receive(announced(buyer, order, 1)).status_code == 200
        assert announce(buyer, order, 1).json()["left"] == 0

    def test_of_a_parcel_lets_the_next_one_leave(self, shop, ship):
        buyer = shop.buyer(shop.sku(), 3)
        order = buyer.buy()
        ship(order, 1)
        assert announce(buyer, order, 2).json()["left"] == 1
        announced(buyer, order, 1)
        after = ship(order, 2)["order"]
        assert (after["lines"][0]["shipped"], after["status"]) == (3, "return_requested")

    def test_of_an_order_of_which_nothing_has_left_names_the_state(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        answer = announce(buyer, order)
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] == "confirmed"
        assert read(buyer, order)["version"] == order["version"]

    def test_after_the_return_window_names_the_state(self, shop, shipped, scan):
        buyer, order, _ = shipped(1)
        scan(read(buyer, order)["shipments"][0], "delivered")
        late = shop.http.post(
            f"{shop.api(return_window_seconds=0.001)}/v1/orders/{order['id']}/returns",
            json={"lines": lines_of(order)},
            headers=buyer.headers,
        )  # nobody has closed it yet
        assert (late.status_code, slug(late)) == (409, "invalid-transition")
        assert late.json()["state"] in ("delivered", "completed")
        eventually(lambda: read(buyer, order)["status"] == "completed")
        answer = announce(buyer, order)
        assert (answer.status_code, slug(answer), answer.json()["state"]) == (409, "invalid-transition", "completed")

    def test_of_an_unknown_line_is_409_and_of_a_line_twice_422(self, shipped):
        buyer, order, _ = shipped(2)
        answer = announce(buyer, order, lines=[{"line_id": "line_none", "quantity": 1}])
        assert (answer.status_code, answer.json()["left"]) == (409, 0)
        for bad in (lines_of(order) * 2, [], lines_of(order, 0), lines_of(order, more=1)):
            assert announce(buyer, order, lines=bad).status_code == 422, bad

    def test_with_the_same_key_is_one_return(self, shop, shipped):
        buyer, order, _ = shipped(3)
        key = new_key()
        answers = at_once([lambda: announce(buyer, order, key=key)] * 5)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert len(read(buyer, order)["returns"]) == 1
        reused = announce(buyer, order, 2, key=key)
        assert (reused.status_code, slug(reused)) == (422, "idempotency-key-reused")

    def test_at_once_never_takes_a_unit_twice(self, shipped):
        buyer, order, _ = shipped(3)
        answers = at_once([lambda: announce(buyer, order)] * 10)
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 7

    def test_is_for_the_buyer_and_for_support(self, shop, shipped, warehouse):
        _, order, _ = shipped(2)
        path, body = f"/v1/orders/{order['id']}/returns", {"lines": lines_of(order)}
        assert shop.post(path, body).status_code == 404
        assert shop.post(path, body, shop.bearer(Role.CUSTOMER)).status_code == 404
        assert shop.post(path, body, warehouse).status_code == 403
        answer = shop.post(path, body, shop.bearer(Role.SUPPORT, "usr_support"))
        assert answer.status_code == 201, answer.text
        audited = shop.sql("SELECT action FROM audit_log WHERE subject = :id", id=answer.json()["id"])
        assert [row.action for row in audited] == ["return.requested"]


class TestReceiving:
    def test_puts_the_stock_back_where_it_was_and_asks_for_the_money(self, shop, shipped, receive):
        buyer, order, sku = shipped(3)
        assert shop.stock(sku) == (7, 0)
        request = announced(buyer, order, 2)
        answer = receive(request)
        assert answer.status_code == 200, answer.text
        got = answer.json()
        assert (got["status"], got["lines"][0]["received"]) == ("received", 2)
        line = order["lines"][0]
        assert got["refund"]["amount"]["amount"] == line["total"]["amount"] * 2 // 3
        assert got["refund"]["tax"]["amount"] == line["tax"]["amount"] * 2 // 3
        after = got["order"]
        assert after["status"] == "shipped"  # as before: one of the three is on its way to the buyer
        assert (after["lines"][0]["returned"], after["lines"][0]["refunded"]) == (2, 2)
        assert [r["id"] for r in after["refunds"]] == [got["refund"]["id"]]
        assert shop.stock(sku) == (9, 0)
        booked = shop.sql("SELECT location, delta, reason FROM stock_adjustments WHERE sku = :s ORDER BY at", s=sku)
        assert [tuple(row) for row in booked][1:] == [("east", 2, f"return {request['id']}")]

    def test_of_the_last_unit_returns_the_order(self, shop, world, shipped, receive):
        buyer, order, _ = shipped(1)
        answer = receive(announced(buyer, order))
        assert answer.json()["order"]["status"] == "returned"
        eventually(lambda: shop.ended(order_workflow(order["id"])))
        eventually(lambda: [m for m in world.mail(buyer.email) if "your return has arrived" in m["subject"]])

    def test_of_fewer_units_leaves_the_rest_with_the_buyer(self, shop, shipped, receive):
        buyer, order, sku = shipped(3)
        request = announced(buyer, order, 3)
        got = receive(request, {"lines": lines_of(order, 1)}).json()
        assert (got["lines"][0]["quantity"], got["lines"][0]["received"]) == (3, 1)
        assert got["order"]["lines"][0]["returned"] == 1
        assert shop.stock(sku) == (8, 0)
        assert announce(buyer, order, 3).json()["left"] == 2
        announced(buyer, order, 2)

    def test_of_more_or_of_something_else_is_409_and_changes_nothing(self, shop, shipped, receive):
        buyer, order, sku = shipped(3)
        request = announced(buyer, order, 2)
        answer = receive(request, {"lines": lines_of(order, 3)})
        assert (answer.status_code, slug(answer), answer.json()["left"]) == (409, "not-enough-to-return", 2)
        other = [{"line_id": "line_none", "quantity": 1}]
        assert receive(request, {"lines": other}).status_code == 409
        for bad in (lines_of(order) * 2, [], lines_of(order, 0)):
            assert receive(request, {"lines": bad}).status_code == 422
        assert read(buyer, order)["returns"][0]["status"] == "requested"
        assert shop.stock(sku) == (7, 0)

    def test_of_what_can_not_be_sold_again_leaves_the_stock_alone(self, shop, ship, receive):
        one, two = shop.sku(stock=5), shop.sku(stock=5)
        buyer = shop.visitor()
        for sku in (one, two):
            buyer.add(sku)
        order = buyer.prepare().buy()
        ship(order)
        request = announced(buyer, order)
        lines = lines_of(order)
        lines[1]["restock"] = True
        got = receive(request, {"lines": lines, "restock": False}).json()
        assert got["refund"]["amount"]["amount"] == sum(line["total"]["amount"] for line in order["lines"])
        sold_again = {order["lines"][1]["sku"]}
        assert {sku: shop.stock(sku) for sku in (one, two)} == {
            sku: (5 if sku in sold_again else 4, 0) for sku in (one, two)
        }

    def test_puts_every_unit_back_where_it_had_left_from(self, shop, ship, receive):
        sku = shop.sku(stock=2)
        admin = shop.bearer(Role.ADMIN, "usr_admin")
        more = {"location": "west", "delta": 2, "reason": "delivery"}
        assert shop.post(f"/v1/inventory/{sku}/adjustments", more, admin).status_code in (200, 201)
        buyer = shop.buyer(sku, 3)
        order = buyer.buy()

        def there():
            rows = shop.sql("SELECT location, on_hand FROM stock_levels WHERE sku = :sku", sku=sku)
            return {row.location: row.on_hand for row in rows}

        ship(order, 3)
        left = there()
        assert sorted(left.values()) == [0, 1]
        for _ in range(3):
            assert receive(announced(buyer, order)).status_code == 200
        assert there() == {"east": 2, "west": 2}

    def test_ten_times_at_once_is_once(self, shop, shipped, receive):
        buyer, order, sku = shipped(2)
        request = announced(buyer, order, 2)
        answers = at_once([lambda: receive(request)] * 10)
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert slug(refused) == "invalid-transition"
        assert refused.json()["state"] in ("received", "refunded")
        assert shop.stock(sku) == (10, 0)
        assert len(read(buyer, order)["refunds"]) == 1

    def test_with_the_same_key_at_once_gives_the_same_answer(self, shop, shipped, receive):
        buyer, order, sku = shipped(2)
        request, key = announced(buyer, order), new_key()
        answers = at_once([lambda: receive(request, key=key)] * 5)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert shop.stock(sku) == (9, 0)

    def test_of_two_returns_at_once_counts_each(self, shop, shipped, receive):
        buyer, order, sku = shipped(4)
        requests = [announced(buyer, order) for _ in range(4)]
        answers = at_once([lambda request=request: receive(request) for request in requests])
        assert {answer.status_code for answer in answers} == {200}
        now = read(buyer, order)
        assert (now["status"], now["lines"][0]["returned"]) == ("returned", 4)
        assert sum(refund["amount"]["amount"] for refund in now["refunds"]) == now["lines"][0]["total"]["amount"]
        assert shop.stock(sku) == (10, 0)

    def test_of_a_free_order_asks_for_no_money(self, shop, ship, receive):
        buyer = shop.buyer(shop.sku(), 1)
        buyer.change("POST", "/discounts", {"code": shop.promotion(percent=100)})
        order = buyer.buy()
        ship(order)
        request = announced(buyer, order)
        got = receive(request).json()
        assert (got["status"], got["refund"], got["order"]["refunds"]) == ("received", None, [])
        eventually(lambda: shop.ended(return_workflow(request["id"])))

    def test_of_an_unknown_return_is_404(self, receive, refuse):
        assert receive({"id": "ret_none"}).status_code == 404
        assert refuse({"id": "ret_none"}).status_code == 404

    @pytest.mark.parametrize("country", ["JP", "KW", "DE"])
    def test_pays_back_exactly_what_the_units_cost(self, shop, ship, receive, country):
        buyer = shop.buyer(quantity=3, country=country)
        order = buyer.buy()
        ship(order, 3)
        amounts = [receive(announced(buyer, order)).json()["refund"]["amount"] for _ in range(3)]
        assert sum(amount["amount"] for amount in amounts) == order["lines"][0]["total"]["amount"]
        assert {amount["currency"] for amount in amounts} == {order["currency"]}


class TestRefusing:
    def test_sends_the_order_on_its_way_and_tells_the_buyer(self, shop, world, shipped, receive, refuse):
        buyer, order, sku = shipped(2)
        request = announced(buyer, order, 2)
        answer = refuse(request, "Worn for a year")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["order"]["status"]) == ("refused", "shipped")
        eventually(lambda: shop.ended(return_workflow(request["id"])))
        assert refuse(request).status_code == 200
        late = receive(request)
        assert (late.status_code, slug(late), late.json()["state"]) == (409, "invalid-transition", "refused")
        assert shop.stock(sku) == (8, 0)
        notes = shop.sql("SELECT kind, text FROM order_notes WHERE order_id = :id", id=order["id"])
        assert [tuple(note) for note in notes] == [("return", "Worn for a year")]
        mails = eventually(lambda: [m for m in world.mail(buyer.email) if "can't take back" in m["text"]])
        assert len(mails) == 1
        assert "Worn" not in mails[0]["text"]

    def test_what_has_arrived_is_too_late(self, shipped, receive, refuse):
        buyer, order, _ = shipped(1)
        request = announced(buyer, order)
        receive(request)
        answer = refuse(request)
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] in ("received", "refunded")

    def test_and_receiving_at_once_has_one_winner(self, shop, shipped, receive, refuse):
        buyer, order, sku = shipped(1)
        request = announced(buyer, order)
        answers = at_once([lambda: receive(request), lambda: refuse(request)] * 2)
        taken = [answer.status_code == 200 for answer in answers[::2]]
        refused = {answer.status_code == 200 for answer in answers[1::2]}
        assert sum(taken) == (0 if refused == {True} else 1)
        assert len(refused) == 1
        assert shop.stock(sku) == (9 + sum(taken), 0)


class TestTheWarehouse:
    def test_sees_what_is_expected_in_pages_newest_first(self, shop, warehouse, shipped, receive):
        buyer, order, _ = shipped(3)
        requests = [announced(buyer, order) for _ in range(3)]
        receive(requests[1])

        def listed(**params):
            answer = shop.get("/v1/fulfilment/returns", warehouse, **params)
            assert answer.status_code == 200, answer.text
            return answer.json()

        expected = [requests[2]["id"], requests[0]["id"]]
        found, cursor = [], {}
        while len(found) < 2:
            page = listed(status="requested", limit=1, **cursor)
            found += [item["id"] for item in page["items"]]
            cursor = {"cursor": page["next_cursor"]}
        assert found == expected
        assert [item["id"] for item in listed(limit=3)["items"]] == [request["id"] for request in requests[::-1]]
        assert shop.get("/v1/fulfilment/returns", warehouse, cursor="nonsense").status_code == 400
        assert shop.get("/v1/fulfilment/returns", warehouse, status="lost").status_code == 422

    def test_finds_one_by_the_number_on_the_parcel(self, shop, warehouse, shipped):
        buyer, order, _ = shipped(1)
        request = announced(buyer, order)
        found = shop.get(f"/v1/fulfilment/returns/{request['id']}", warehouse)
        assert found.json() == {name: value for name, value in request.items() if name != "order"}
        assert shop.get("/v1/fulfilment/returns/ret_none", warehouse).status_code == 404


class TestMoneyAndGoodsTogether:
    @pytest.fixture
    def refund(self, shop):
        headers = shop.bearer(Role.SUPPORT, "usr_support")

        def act(order, **body):
            path = f"{shop.url}/v1/support/orders/{order['id']}/refunds"
            keyed = {**headers, "Idempotency-Key": new_key()}
            return shop.http.post(path, json={"reason": "Goodwill", **body}, headers=keyed)

        return act

    def test_what_is_received_is_paid_back_by_the_provider_once_and_ends_well(self, shop, world, shipped, receive):
        buyer, order, _ = shipped(2)
        request = announced(buyer, order)
        amount = receive(request).json()["refund"]["amount"]["amount"]
        eventually(lambda: read(buyer, order)["returns"][0]["status"] == "refunded")
        assert sum(intent["amount_refunded"] for intent in world.intents(buyer.cart_id)) == amount
        page = buyer.call("GET", f"/v1/orders/{order['id']}/returns").json()["items"]
        assert [(item["status"], item["refund"]["status"]) for item in page] == [("refunded", "succeeded")]
        eventually(lambda: shop.ended(return_workflow(request["id"])))
        types = [row.type for row in shop.sql("SELECT type FROM order_events WHERE order_id = :id", id=order["id"])]
        assert types.count("return.refunded") == 1

    def test_support_can_not_refund_the_same_units_again(self, shipped, receive, refund):
        buyer, order, _ = shipped(2)
        receive(announced(buyer, order, 2))
        answer = refund(order, lines=lines_of(order))
        assert (answer.status_code, slug(answer)) == (409, "refund-exceeds-balance")

    def test_units_that_were_refunded_before_are_taken_back_for_nothing(self, shop, shipped, receive, refund):
        buyer, order, sku = shipped(3)
        assert refund(order, lines=lines_of(order, 2)).status_code == 201
        got = receive(announced(buyer, order, 3)).json()
        line = order["lines"][0]
        whole = line["total"]["amount"]
        assert got["refund"]["amount"]["amount"] == whole - whole * 2 // 3  # one of the three had not been
        assert (got["order"]["lines"][0]["refunded"], got["order"]["status"]) == (3, "returned")
        assert shop.stock(sku) == (10, 0)

    def test_after_a_full_refund_nothing_more_is_paid_and_the_return_has_ended(self, shop, shipped, receive, refund):
        buyer, order, _ = shipped(1)
        assert refund(order).status_code == 201
        request = announced(buyer, order)
        got = receive(request).json()
        assert (got["status"], got["refund"]) == ("received", None)
        assert len(got["order"]["refunds"]) == 1
        eventually(lambda: shop.ended(return_workflow(request["id"])))

    def test_a_refund_and_a_receipt_at_once_never_pay_twice(self, world, shipped, receive, refund):
        buyer, order, _ = shipped(1)
        request = announced(buyer, order)
        answers = at_once([lambda: receive(request), lambda: refund(order, lines=lines_of(order))] * 3)
        assert {answer.status_code for answer in answers} <= {200, 201, 409}
        settled = eventually(
            lambda: (
                (now := read(buyer, order))["refunds"]
                and all(refund["status"] == "succeeded" for refund in now["refunds"])
                and now
            )
        )
        paid = sum(refund["amount"]["amount"] for refund in settled["refunds"])
        assert paid == order["lines"][0]["total"]["amount"]
        assert sum(intent["amount_refunded"] for intent in world.intents(buyer.cart_id)) == paid

    def test_restocked_and_then_cancelled_leaves_every_unit_on_the_shelf(self, shop, world, ship, receive):
        sku = shop.sku(stock=10)
        buyer = shop.buyer(sku, 3)
        order = buyer.buy()
        ship(order, 1)
        receive(announced(buyer, order, 1))
        assert shop.stock(sku) == (10, 2)
        workflow_id = order_workflow(order["id"])
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).execute_update("cancel_remainder", {}))
        assert shop.stock(sku) == (10, 0)
        now = eventually(lambda: (now := read(buyer, order))["payment"]["released"]["amount"] and now)
        (intent,) = world.intents(buyer.cart_id)
        assert intent["amount_received"] == now["payment"]["captured"]["amount"]

    def test_of_a_parcel_that_was_lost_is_not_taken(self, shop, scan, shipped):
        buyer, order, _ = shipped(1)
        lost = scan(read(buyer, order)["shipments"][0], "lost")
        assert lost.status_code == 201, lost.text
        answer = announce(buyer, order)
        assert answer.status_code == 409
