"""Parcels over HTTP: each captures exactly what it ships, and an order is never more than its parcels."""

from __future__ import annotations

import gc

import pytest

from tests.fixtures.shop import at_once, eventually, new_key, slug


def order_now(shop, warehouse, order):
    return shop.get(f"/v1/orders/{order['id']}", warehouse).json()


class TestShipping:
    def test_one_parcel_takes_all_the_money_and_the_stock(self, shop, world, ship):
        sku = shop.sku(stock=5)
        buyer = shop.buyer(sku, 2)
        shipment = ship(buyer.buy(), 2)
        assert shipment["captured"] == buyer.total
        assert shipment["order"]["status"] == "shipped"
        assert shipment["order"]["payment_status"] == "captured"
        (intent,) = world.intents(buyer.cart_id)
        assert (intent["status"], intent["amount_received"]) == ("succeeded", buyer.total["amount"])
        assert shop.stock(sku) == (3, 0)

    def test_two_parcels_together_take_exactly_the_total(self, shop, world, ship):
        sku = shop.sku(stock=5, price=3333)
        buyer = shop.buyer(sku, 3)
        order = buyer.buy()
        first = ship(order, 1)
        assert first["order"]["status"] == "partially_shipped"
        assert first["order"]["payment_status"] == "partially_captured"
        assert shop.stock(sku) == (4, 2)
        second = ship(order, 2)
        assert second["order"]["status"] == "shipped"
        captured = [first["captured"]["amount"], second["captured"]["amount"]]
        assert sum(captured) == buyer.total["amount"]
        assert all(captured)
        (intent,) = world.intents(buyer.cart_id)
        assert (intent["status"], intent["amount_received"]) == ("succeeded", buyer.total["amount"])
        assert shop.stock(sku) == (2, 0)

    def test_a_zero_total_ships_without_any_charge(self, shop, world, ship):
        buyer = shop.buyer()
        buyer.change("POST", "/discounts", {"code": shop.promotion(percent=100)})
        shipment = ship(buyer.buy())
        assert shipment["captured"]["amount"] == 0
        assert shipment["order"]["payment_status"] == "not_required"
        assert world.intents(buyer.cart_id) == []

    def test_the_books_balance_to_the_unit(self, shop, ship):
        buyer = shop.buyer(quantity=3)
        order = buyer.buy()
        ship(order, 1)
        ship(order, 2)
        total = buyer.total["amount"]
        balances = shop.sql(
            "SELECT account, sum(amount) AS balance FROM ("
            " SELECT debit AS account, l.amount FROM ledger_entries l JOIN payments p ON p.id = l.payment_id"
            " WHERE p.order_id = :id UNION ALL SELECT credit, -l.amount FROM ledger_entries l"
            " JOIN payments p ON p.id = l.payment_id WHERE p.order_id = :id) moved GROUP BY account ORDER BY account",
            id=order["id"],
        )
        found = {row.account: int(row.balance) for row in balances}
        assert sum(found.values()) == 0
        assert found["provider_balance"] == total == -found["sales"]
        assert found["provider_authorised"] == found["authorisations"] == 0

    def test_more_than_is_left_is_409_and_takes_nothing(self, shop, world, ship, try_to_ship):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        taken = ship(order, 1)["captured"]["amount"]
        answer = try_to_ship(order, 2)
        assert (answer.status_code, slug(answer)) == (409, "not-enough-to-ship")
        assert answer.json()["left"] == 1
        (intent,) = world.intents(buyer.cart_id)
        assert intent["amount_received"] == taken

    def test_an_unknown_line_is_refused(self, shop, try_to_ship):
        order = shop.buyer().buy()
        answer = try_to_ship(order, lines=[{"line_id": "line_none", "quantity": 1}])
        assert answer.status_code == 409

    def test_a_line_named_twice_is_422(self, shop, try_to_ship):
        order = shop.buyer(quantity=2).buy()
        line = {"line_id": order["lines"][0]["id"], "quantity": 1}
        assert try_to_ship(order, lines=[line, line]).status_code == 422

    def test_an_unknown_order_is_404(self, shop, try_to_ship):
        answer = try_to_ship({"id": "ord_none", "lines": [{"id": "line_1"}]})
        assert (answer.status_code, slug(answer)) == (404, "not-found")

    def test_a_tracking_number_is_one_parcels(self, shop, ship, try_to_ship):
        one, two = shop.buyer().buy(), shop.buyer().buy()
        number = new_key()
        ship(one, tracking=number)
        answer = try_to_ship(two, tracking=number)
        assert (answer.status_code, slug(answer)) == (409, "conflict")
        assert ship(two)["order"]["status"] == "shipped"

    def test_what_has_shipped_cannot_ship_again_and_the_state_is_named(self, shop, ship, try_to_ship):
        order = shop.buyer().buy()
        ship(order)
        answer = try_to_ship(order)
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] == "shipped"

    def test_parcels_at_once_never_ship_more_than_there_is(self, shop, world, try_to_ship):
        buyer = shop.buyer(quantity=3)
        order = buyer.buy()
        answers = at_once([lambda: try_to_ship(order, 1)] * 6)
        assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 409, 409, 409]
        (intent,) = world.intents(buyer.cart_id)
        assert intent["amount_received"] == buyer.total["amount"]

    def test_the_same_key_at_once_is_one_parcel(self, shop, world, try_to_ship, warehouse):
        buyer = shop.buyer(quantity=3)
        order, key, tracking = buyer.buy(), new_key(), new_key()
        answers = at_once([lambda: try_to_ship(order, 1, key=key, tracking=tracking)] * 5)
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert order_now(shop, warehouse, order)["lines"][0]["shipped"] == 1

    def test_right_after_the_click_is_not_too_early(self, shop, ship):
        """The order's process may not have been started yet."""
        assert ship(shop.buyer().buy())["order"]["status"] == "shipped"


class TestCaptureFailures:
    @pytest.mark.parametrize(
        "outcome", ["status_before", "status_after", "reset_connection_before", "reset_connection_after"]
    )
    def test_a_lost_or_failed_capture_takes_the_money_once(self, shop, world, ship, outcome):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        capture = {"path": f"/v1/payment_intents/{intent['id']}/capture"}
        world.post("/script", service="stripe", match=capture, outcomes=[{"kind": outcome}])
        first = ship(order, 1)
        world.post("/script", service="stripe", match=capture, outcomes=[{"kind": outcome}])
        second = ship(order, 1)
        (intent,) = world.intents(buyer.cart_id)
        assert intent["amount_received"] == first["captured"]["amount"] + second["captured"]["amount"]
        assert intent["amount_received"] == buyer.total["amount"]

    def test_a_refused_capture_ships_nothing_and_the_order_waits_for_its_payment(
        self, shop, world, try_to_ship, warehouse
    ):
        sku = shop.sku(stock=3)
        buyer = shop.buyer(sku)
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        world.post(
            "/script",
            service="stripe",
            match={"path": f"/v1/payment_intents/{intent['id']}/capture"},
            outcomes=[{"kind": "decline", "code": "card_declined"}],
        )
        tracking = new_key()
        answer = try_to_ship(order, tracking=tracking)
        assert answer.status_code in (402, 409, 422), answer.text
        now = order_now(shop, warehouse, order)
        assert (now["status"], now["shipments"]) == ("payment_retrying", [])
        assert shop.stock(sku) == (3, 1)
        assert try_to_ship(order, tracking=tracking).status_code == 409


class TestNobodyAnswersInTime:
    """A 503 that tells what to do: it may happen yet, and under its key it happens once."""

    @pytest.fixture
    def ship_in_a_hurry(self, shop, warehouse):
        """Through an API that waits a second."""
        url = shop.api(checkout_deadline_seconds=1)

        def act(order, key):
            lines = [{"line_id": line["id"], "quantity": line["quantity"]} for line in order["lines"]]
            body = {"lines": lines, "carrier": "ups", "tracking_number": f"1Z{key}"}
            path = f"{url}/v1/fulfilment/orders/{order['id']}/shipments"
            return shop.http.post(path, json=body, headers={**warehouse, "Idempotency-Key": key})

        return act

    def test_what_has_begun_goes_out_once(self, shop, world, warehouse, ship_in_a_hurry):
        buyer, key = shop.buyer(quantity=2), new_key()
        order = buyer.buy()
        world.script(buyer.cart_id, {"kind": "delay", "ms": 2500})
        answer = ship_in_a_hurry(order, key)
        assert (answer.status_code, slug(answer)) == (503, "unavailable")
        assert "Idempotency-Key" in answer.json()["detail"]
        (out,) = eventually(lambda: order_now(shop, warehouse, order)["shipments"])
        again = ship_in_a_hurry(order, key)
        assert (again.status_code, again.json()["id"]) == (201, out["id"])
        assert world.intents(buyer.cart_id)[0]["amount_received"] == buyer.total["amount"]

    def test_what_nobody_has_taken_up_goes_out_once_too(self, shop, world, warehouse, ship_in_a_hurry):
        buyer, key = shop.buyer(), new_key()
        order = buyer.buy()
        with shop.without(*shop.workers):
            answer = ship_in_a_hurry(order, key)
            assert (answer.status_code, slug(answer)) == (503, "unavailable")
            assert "Idempotency-Key" in answer.json()["detail"]
        answer = eventually(lambda: found if (found := ship_in_a_hurry(order, key)).status_code == 201 else None, 30)
        assert [parcel["id"] for parcel in order_now(shop, warehouse, order)["shipments"]] == [answer.json()["id"]]
        assert world.intents(buyer.cart_id)[0]["amount_received"] == buyer.total["amount"]


class TestScans:
    def test_go_on_to_delivered_and_after_the_return_window_to_completed(self, shop, ship, scan, warehouse):
        order = shop.buyer(quantity=2).buy()
        one, two = ship(order, 1), ship(order, 1)
        for status in ("in_transit", "out_for_delivery", "delivered"):
            answer = scan(one, status, location="Reno")
            assert answer.status_code == 201, answer.text
            assert answer.json()["status"] == status
        assert answer.json()["order"]["status"] == "shipped"
        assert scan(two, "delivered").json()["order"]["status"] == "delivered"
        eventually(lambda: order_now(shop, warehouse, order)["status"] == "completed", within=6)

    def test_show_in_the_buyers_tracking(self, shop, ship, scan):
        buyer = shop.buyer()
        shipment = ship(buyer.buy())
        scan(shipment, "in_transit", location="Reno", at="2026-01-02T03:04:05Z")
        (found,) = buyer.call("GET", f"/v1/orders/{shipment['order_id']}/tracking").json()["items"]
        assert (found["carrier"], found["tracking_number"]) == ("ups", shipment["tracking_number"])
        assert [(event["status"], event["location"]) for event in found["events"]] == [("in_transit", "Reno")]
        assert found["events"][0]["at"] == "2026-01-02T03:04:05Z"
        assert "eta" in found

    def test_cannot_go_back_and_the_state_is_named(self, shop, ship, scan):
        order = shop.buyer(quantity=2).buy()
        shipment = ship(order, 1)
        assert scan(shipment, "delivered").status_code == 201
        answer = scan(shipment, "in_transit")
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] == "delivered"

    def test_repeated_add_nothing(self, shop, ship, scan, warehouse):
        order = shop.buyer(quantity=2).buy()
        shipment = ship(order, 1)
        for _ in range(2):
            assert scan(shipment, "in_transit", at="2026-01-02T03:04:05Z").status_code == 201
        assert len(order_now(shop, warehouse, order)["shipments"][0]["events"]) == 1

    def test_of_an_unknown_shipment_are_404(self, scan):
        assert scan({"id": "shp_none"}, "delivered").status_code == 404

    def test_of_an_unknown_status_are_422(self, shop, ship, scan):
        shipment = ship(shop.buyer().buy())
        for status in ("mislaid", "shipped", "preparing", "", None, 1):
            assert scan(shipment, status).status_code == 422, status

    def test_of_a_completed_order_are_refused_and_start_nothing(self, shop, ship, scan, try_to_ship, warehouse, caplog):
        order = shop.buyer().buy()
        shipment = ship(order)
        scan(shipment, "delivered")
        eventually(lambda: order_now(shop, warehouse, order)["status"] == "completed", within=6)
        eventually(lambda: shop.ended(f"order/{order['id']}"))
        for answer in (scan(shipment, "in_transit"), try_to_ship(order)):
            assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
            assert answer.json()["state"] in ("completed", "delivered")
        assert not shop.running(f"order/{order['id']}")
        gc.collect()  # which is when asyncio tells of a failure that nobody has asked for
        assert "WorkflowAlreadyStartedError" not in caplog.text
