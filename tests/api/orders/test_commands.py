"""Cancel, hold, release, another address: the order's lock decides every race, and money and stock agree with it."""

from __future__ import annotations

import pytest
import stripe

from models.accounts.access import Role
from models.ids import order_workflow
from models.orders.commands import Initiator
from tests.fixtures.parcels import ship
from tests.fixtures.reconciliation import balances, payment_of, reconcile
from tests.fixtures.shop import ADDRESSES, VISA, at_once, eventually, new_key, slug
from workflows.order import Order


def read(buyer, order):
    return buyer.call("GET", f"/v1/orders/{order['id']}").json()


def cancel(buyer, order, **headers):
    return buyer.call("POST", f"/v1/orders/{order['id']}/cancel", {"reason": "Changed my mind"}, **headers)


def voided(buyer, order):
    return eventually(lambda: (now := read(buyer, order))["payment_status"] == "voided" and now)


@pytest.fixture
def support(shop):
    headers = shop.bearer(Role.SUPPORT)

    def call(order, command, body=None, **more):
        return shop.http.post(
            f"{shop.url}/v1/support/orders/{order['id']}/{command}", json=body or {}, headers={**headers, **more}
        )

    return call


def captured_by_hand(shop, order):
    """At the provider, behind our back; the nightly comparison has recorded it."""
    payment = payment_of(shop, order)
    with shop.world.webhooks(mode="drop"):
        client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": shop.world.url})
        client.v1.payment_intents.capture(payment.reference)
    reconcile(shop)
    return payment.amount


def refunded(shop, order):
    """Amount of the one refund of an order, once it has succeeded."""
    rows = shop.sql("SELECT amount, state FROM refunds WHERE order_id = :id", id=order["id"])
    return [row.amount for row in rows if row.state == "succeeded"]


class TestCancellingWhatWasCaptured:
    def test_refunds_it_all_where_nothing_has_left(self, shop, world):
        buyer = shop.buyer()
        order = buyer.buy()
        captured = captured_by_hand(shop, order)
        answers = at_once([lambda: cancel(buyer, order)] * 3)
        assert {answer.status_code for answer in answers} == {200}
        eventually(lambda: refunded(shop, order) == [captured])
        assert world.charged(buyer.cart_id) == 0
        eventually(lambda: read(buyer, order)["payment_status"] == "refunded")
        (mail,) = eventually(lambda: [m for m in world.mail(buyer.email) if "is cancelled" in m["subject"]])
        assert f"${captured / 100:,.2f}" in mail["text"]
        assert "nothing was taken" not in mail["text"].lower()
        assert "sent already" not in mail["text"]
        assert balances(shop, order) == {}

    def test_refunds_the_remainder(self, shop, world, support):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        ship(shop, order, 1)
        shipped = payment_of(shop, order).captured
        captured = captured_by_hand(shop, order)

        async def remainder(client):
            handle = client.get_workflow_handle(order_workflow(order["id"]))
            await handle.execute_update(Order.cancel_remainder, Initiator())

        shop.temporal(remainder)
        eventually(lambda: refunded(shop, order) == [captured - shipped])
        assert world.charged(buyer.cart_id) == shipped
        (mail,) = eventually(lambda: [m for m in world.mail(buyer.email) if "is cancelled" in m["subject"]])
        assert f"${(captured - shipped) / 100:,.2f}" in mail["text"]
        assert "What was sent already is yours" in mail["text"]


class TestCancelling:
    def test_gives_the_stock_back_at_once_and_the_money_soon(self, shop, world):
        sku = shop.sku(stock=5)
        buyer = shop.buyer(sku, 2)
        order = buyer.buy()
        answer = cancel(buyer, order)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "cancelled"
        assert shop.stock(sku) == (5, 0)
        voided(buyer, order)
        (intent,) = world.intents(buyer.cart_id)
        assert (intent["status"], intent["amount_received"]) == ("canceled", 0)
        assert world.charged(buyer.cart_id) == 0
        eventually(lambda: shop.ended(order_workflow(order["id"])))
        mails = eventually(lambda: [m for m in world.mail(buyer.email) if "cancelled" in m["subject"]])
        assert len(mails) == 1

    def test_ten_at_once_are_one(self, shop, world):
        sku = shop.sku(stock=5)
        buyer = shop.buyer(sku, 1)
        order = buyer.buy()
        answers = at_once([lambda: cancel(buyer, order)] * 10)
        assert {answer.status_code for answer in answers} == {200}
        voided(buyer, order)
        assert shop.stock(sku) == (5, 0)
        events = buyer.call("GET", f"/v1/orders/{order['id']}/events").json()["items"]
        types = [event["type"] for event in events]
        assert types.count("order.cancelled") == types.count("payment.voided") == 1

    def test_the_books_say_the_same(self, shop):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        cancel(buyer, order)
        voided(buyer, order)
        rows = shop.sql(
            "SELECT l.kind FROM ledger_entries l JOIN payments p ON p.id = l.payment_id WHERE p.order_id = :id"
            " ORDER BY l.id",
            id=order["id"],
        )
        assert [row.kind for row in rows] == ["authorise", "void"]
        ((state, released, amount),) = shop.sql(
            "SELECT state, released, amount FROM payments WHERE order_id = :id", id=order["id"]
        )
        assert (state, released) == ("voided", amount)

    def test_the_code_may_be_used_again(self, shop):
        code = shop.promotion(percent=10, limit=1)
        buyer = shop.buyer(shop.sku())
        buyer.change("POST", "/discounts", {"code": code})
        order = buyer.buy()
        cancel(buyer, order)
        again = shop.buyer(shop.sku())
        again.change("POST", "/discounts", {"code": code})
        assert again.checkout(VISA).status_code == 201

    def test_the_same_key_gets_the_same_bytes(self, shop):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        key = new_key()
        first, second = cancel(buyer, order, Idempotency_Key=key), cancel(buyer, order, Idempotency_Key=key)
        assert first.content == second.content
        assert second.headers["Idempotency-Replayed"] == "true"

    def test_after_a_parcel_has_left_it_is_too_late(self, shop, ship):
        buyer = shop.buyer(shop.sku(), 2)
        order = buyer.buy()
        ship(order, 1)
        answer = cancel(buyer, order)
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] == "partially_shipped"

    def test_another_buyers_order_is_not_found(self, shop):
        order = shop.buyer(shop.sku()).buy()
        assert cancel(shop.visitor(), order).status_code == 404
        assert cancel(shop.visitor(customer="usr_other"), order).status_code == 404

    def test_it_works_while_temporal_is_down(self, shop):
        sku = shop.sku(stock=3)
        buyer = shop.buyer(sku)
        order = buyer.buy()
        eventually(lambda: shop.running(order_workflow(order["id"])))
        with shop.without("temporal"):
            assert cancel(buyer, order).json()["status"] == "cancelled"
            assert shop.stock(sku) == (3, 0)
        eventually(lambda: read(buyer, order)["payment_status"] == "voided", within=60)

    def test_a_provider_that_is_down_is_asked_until_it_answers(self, shop, world):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        world.post(
            "/script",
            service="stripe",
            match={"path": f"/v1/payment_intents/{intent['id']}/cancel"},
            outcomes=[{"kind": "status_before", "status": 500}, {"kind": "timeout_after"}],
        )
        assert cancel(buyer, order).status_code == 200
        eventually(lambda: read(buyer, order)["payment_status"] == "voided", within=40)
        assert world.charged(buyer.cart_id) == 0


def test_cancel_and_ship_at_once_one_wins_and_money_and_stock_agree(shop, world, try_to_ship):
    buyers = []
    for _ in range(5):
        sku = shop.sku(stock=4)
        buyer = shop.buyer(sku, 2)
        buyers.append((sku, buyer, buyer.buy()))
    calls = []
    for _, buyer, order in buyers:
        calls += [lambda b=buyer, o=order: cancel(b, o), lambda o=order: try_to_ship(o, 2)]
    answers = at_once(calls)
    for number, (sku, buyer, order) in enumerate(buyers):
        cancelled, shipped = answers[2 * number], answers[2 * number + 1]
        assert sorted([cancelled.status_code == 200, shipped.status_code == 201]) == [False, True], (
            cancelled.text,
            shipped.text,
        )
        if shipped.status_code == 201:
            assert slug(cancelled) == "invalid-transition"
            assert shop.stock(sku) == (2, 0)
            assert read(buyer, order)["status"] == "shipped"
            assert world.charged(buyer.cart_id) == order["totals"]["total"]["amount"]
        else:
            assert shipped.status_code == 409
            voided(buyer, order)
            assert shop.stock(sku) == (4, 0)
            assert world.charged(buyer.cart_id) == 0


class TestHolding:
    def test_nothing_leaves_until_it_is_released(self, shop, support, ship, try_to_ship):
        buyer = shop.buyer(shop.sku(), 2)
        order = buyer.buy()
        assert support(order, "hold", {"reason": "Looks like fraud"}).json()["status"] == "on_hold"
        refused = try_to_ship(order, 1)
        assert (refused.status_code, refused.json().get("state")) == (409, "on_hold"), refused.text
        assert support(order, "release").json()["status"] == "confirmed"
        assert ship(order, 2)["order"]["status"] == "shipped"

    def test_it_goes_on_where_it_was(self, shop, support, ship):
        order = shop.buyer(shop.sku(), 2).buy()
        ship(order, 1)
        assert support(order, "hold").json()["status"] == "on_hold"
        assert support(order, "hold").status_code == 200  # still
        assert support(order, "release").json()["status"] == "partially_shipped"
        again = support(order, "release")
        assert (again.status_code, again.json()["state"]) == (409, "partially_shipped")

    def test_what_is_on_hold_can_be_cancelled(self, shop, support):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        support(order, "hold")
        assert cancel(buyer, order).json()["status"] == "cancelled"
        voided(buyer, order)

    def test_an_operator_types_it_in_the_temporal_ui(self, shop):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        eventually(lambda: shop.running(order_workflow(order["id"])))

        async def steer(client):
            handle = client.get_workflow_handle_for(Order.run, order_workflow(order["id"]))
            held = await handle.execute_update("hold", {})
            released = await handle.execute_update(Order.release, Initiator())
            cancelled = await handle.execute_update("cancel")
            return [held, released, cancelled]

        assert shop.temporal(steer) == ["on_hold", "confirmed", "cancelled"]
        voided(buyer, order)


class TestTheAddress:
    def test_changes_until_something_is_packed(self, shop, ship):
        buyer = shop.buyer(shop.sku(), 2)
        order = buyer.buy()
        path = f"/v1/orders/{order['id']}/shipping-address"
        changed = {**ADDRESSES["US"], "line1": "1 Other Street"}
        assert buyer.call("PUT", path, changed).json()["addresses"]["shipping"]["line1"] == "1 Other Street"
        events = buyer.call("GET", f"/v1/orders/{order['id']}/events").json()["items"]
        assert "Other Street" not in str(events)
        ship(order, 1)
        refused = buyer.call("PUT", path, changed)
        assert (refused.status_code, refused.json()["state"]) == (409, "partially_shipped")

    def test_stays_where_the_order_was_priced_for(self, shop):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        elsewhere = {**ADDRESSES["US"], "region": "NY", "postal_code": "10001", "city": "New York"}
        answer = buyer.call("PUT", f"/v1/orders/{order['id']}/shipping-address", elsewhere)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/region"

    def test_must_be_one(self, shop):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        answer = buyer.call(
            "PUT", f"/v1/orders/{order['id']}/shipping-address", {**ADDRESSES["US"], "postal_code": "x"}
        )
        assert answer.status_code == 422


class TestWhatSupportWrites:
    def test_notes_and_reasons_are_for_staff_and_in_no_event(self, shop, support):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        assert support(order, "notes", {"text": "Call Ada before\nshipping"}).status_code == 201
        support(order, "hold", {"reason": "Ada asked"})
        found = shop.get(f"/v1/support/orders/{order['id']}/notes", shop.bearer(Role.SUPPORT)).json()["items"]
        assert [(note["kind"], note["text"]) for note in found] == [
            ("note", "Call Ada before\nshipping"),
            ("hold", "Ada asked"),
        ]
        events = buyer.call("GET", f"/v1/orders/{order['id']}/events").json()["items"]
        assert "order.note_added" in [event["type"] for event in events]
        assert "Ada" not in str(events)

    def test_the_confirmation_comes_again_once_for_each_time_it_is_asked(self, shop, world, support):
        buyer = shop.buyer(shop.sku())
        order = buyer.buy()
        eventually(lambda: len(world.mail(buyer.email)) == 1)
        key = new_key()
        for _ in range(2):
            assert support(order, "resend-confirmation", **{"Idempotency-Key": key}).status_code == 202
        eventually(lambda: len(world.mail(buyer.email)) == 2)
        assert support(order, "resend-confirmation").status_code == 202
        eventually(lambda: len(world.mail(buyer.email)) == 3)
        assert {mail["subject"] for mail in world.mail(buyer.email)} == {world.mail(buyer.email)[0]["subject"]}
