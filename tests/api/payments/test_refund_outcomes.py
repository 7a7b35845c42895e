"""What becomes of a refund, whatever the provider does: given once, or a person's to decide, and the books follow."""

from __future__ import annotations

import pytest

from models.ids import derived_id, refund_workflow
from tests.fixtures.refunds import FAILS, WAITS, at_the_provider, balances, by_hand, given, resolve
from tests.fixtures.retries import Failed
from tests.fixtures.shop import eventually, new_key


class TestTheProvidersMoods:
    @pytest.mark.parametrize("kind", ["timeout_after", "reset_connection_before", "status_before", "status_after"])
    def test_what_is_not_known_is_looked_up(self, world, bought, give, settled, kind):
        buyer, order = bought()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"order_id": order["id"]}}
        world.post("/script", service="stripe", match=match, outcomes=[{"kind": kind, "ms": 100}])
        refund = give(order, amount={"amount": 500, "currency": "USD"})  # room for a second one
        assert settled(order)["refunds"][0]["status"] == "succeeded"
        assert len(at_the_provider(world, refund["id"])) == 1
        assert given(world, buyer) == 500

    def test_the_webhook_comes_before_the_answer(self, shop, world, bought, give, settled):
        buyer, order = bought()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"order_id": order["id"]}}
        world.post("/script", service="stripe", match=match, outcomes=[{"kind": "timeout_after"}])
        refund = give(order)
        assert settled(order)["payment_status"] == "refunded"
        assert len(at_the_provider(world, refund["id"])) == 1
        (intent,) = world.intents(buyer.cart_id)
        stored = shop.sql("SELECT type FROM webhook_events WHERE subject = :id", id=intent["id"])
        assert "refund.created" in [row.type for row in stored]
        assert given(world, buyer) == order["totals"]["total"]["amount"]

    def test_one_that_takes_its_time_ends_with_the_webhook(self, shop, world, bought, give, now, settled):
        _, order = bought(WAITS)
        refund = give(order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))
        assert now(order)["refunds"][0]["status"] == "pending"
        world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
        assert settled(order)["payment_status"] == "refunded"
        eventually(lambda: shop.ended(refund_workflow(refund["id"])))

    def test_refunds_wait_for_the_workers(self, shop, world, bought, give, now, settled):
        buyer, order = bought()
        with shop.without(*shop.workers):
            give(order)
            assert now(order)["refunds"][0]["status"] == "pending"
            assert given(world, buyer) == 0
        assert settled(order)["payment_status"] == "refunded"
        assert given(world, buyer) == order["totals"]["total"]["amount"]

    def test_storms_of_webhooks_in_any_order(self, shop, world, bought, give, settled):
        with world.webhooks(mode="hold", duplicate=3, shuffle=True, seed=7):
            orders = [bought(method)[1] for method in (WAITS, FAILS, "pm_card_visa")]
            refunds = [give(order) for order in orders]
            made = [eventually(lambda r=r: at_the_provider(world, r["id"])) for r in refunds]
            world.post(f"/stripe/refunds/{made[0][0]['id']}/settle", status="succeeded")
            world.post(f"/stripe/refunds/{made[0][0]['id']}/settle", status="failed")
            settled(orders[2])
        for order, status in zip(orders, ("failed", "failed", "succeeded"), strict=True):
            eventually(lambda o=order, s=status: settled(o)["refunds"][0]["status"] == s)
        for order in orders[:2]:
            assert balances(shop, order)["provider_balance"] == order["totals"]["total"]["amount"]


class TestFailure:
    def test_gives_the_money_back_to_the_books_and_the_matter_to_a_person(self, shop, world, bought, give, settled):
        buyer, order = bought(FAILS)
        refund = give(order)
        after = settled(order)
        assert [r["status"] for r in after["refunds"]] == ["failed"]
        assert after["payment_status"] == "captured"
        assert [line["refunded"] for line in after["lines"]] == [0]
        assert shop.tasks(refund["id"]) == ["refund-failed"]
        assert given(world, buyer) == 0
        (payment,) = shop.sql("SELECT refunded FROM payments WHERE order_id = :id", id=order["id"])
        assert payment.refunded == 0
        assert shop.running(refund_workflow(refund["id"]))

    def test_of_a_refund_that_had_succeeded_is_taken_back(self, shop, world, bought, give, settled):
        _, order = bought()
        refund = give(order)
        assert settled(order)["payment_status"] == "refunded"
        (made,) = at_the_provider(world, refund["id"])
        eventually(lambda: shop.ended(refund_workflow(refund["id"])))
        world.post(f"/stripe/refunds/{made['id']}/settle", status="failed")
        after = eventually(lambda: (found := settled(order))["refunds"][0]["status"] == "failed" and found)
        assert after["payment_status"] == "captured"
        total = order["totals"]["total"]["amount"]
        assert balances(shop, order) == {
            "provider_balance": total,
            "sales": -total,
            "provider_authorised": 0,
            "authorisations": 0,
        }
        assert shop.tasks(refund["id"]) == ["refund-failed"]
        kinds = shop.sql("SELECT kind FROM ledger_entries WHERE cause = :id ORDER BY id", id=refund["id"])
        assert [row.kind for row in kinds] == ["refund", "refund_failed"]

    def test_is_tried_again_when_a_person_says_so(self, shop, world, support, bought, give, settled):
        buyer, order = bought()
        refund = give(order)
        settled(order)
        (made,) = at_the_provider(world, refund["id"])
        world.post(f"/stripe/refunds/{made['id']}/settle", status="failed")
        eventually(lambda: shop.tasks(refund["id"]))
        needs = "/v1/ops/needs-attention"
        (task,) = shop.get(needs, support, subject=refund["id"], status="open").json()["items"]
        assert (task["kind"], task["actions"]) == ("refund-failed", ["retry", "done"])
        answer = shop.post(f"{needs}/{task['id']}/resolve", {"outcome": "retry"}, support)
        assert answer.status_code == 200, answer.text
        after = eventually(lambda: (found := settled(order))["refunds"][0]["status"] == "succeeded" and found)
        assert after["payment_status"] == "refunded"
        assert [r["status"] for r in at_the_provider(world, refund["id"])] == ["failed", "succeeded"]
        assert given(world, buyer) == order["totals"]["total"]["amount"]
        assert not any(balances(shop, order).values())
        eventually(lambda: shop.ended(refund_workflow(refund["id"])))
        assert shop.sql("SELECT 1 FROM tasks WHERE subject = :s AND closed_at IS NULL", s=refund["id"]) == []

    def test_is_not_tried_again_once_the_money_has_gone_another_way(self, shop, world, bought, give, settled):
        buyer, order = bought()
        refund = give(order)
        settled(order)
        (made,) = at_the_provider(world, refund["id"])
        world.post(f"/stripe/refunds/{made['id']}/settle", status="failed")
        eventually(lambda: shop.tasks(refund["id"]))
        give(order)
        settled(order)
        resolve(shop, refund, "retry")
        eventually(lambda: len(shop.tasks(refund["id"])) == 2)
        assert given(world, buyer) == order["totals"]["total"]["amount"]
        resolve(shop, refund, "done")
        eventually(lambda: shop.ended(refund_workflow(refund["id"])))
        assert [r["status"] for r in settled(order)["refunds"]] == ["failed", "succeeded"]


class TestByHand:
    def test_a_refund_made_at_the_provider_is_the_orders_once(self, shop, world, bought, ask, settled):
        buyer, order = bought()
        with world.webhooks(mode="deliver", duplicate=3, shuffle=True, seed=3):
            made = by_hand(shop, buyer, 700)
            eventually(lambda: settled(order)["refunds"])
        after = settled(order)
        assert [(r["status"], r["amount"]["amount"]) for r in after["refunds"]] == [("succeeded", 700)]
        assert after["payment_status"] == "partially_refunded"
        events = buyer.call("GET", f"/v1/orders/{order['id']}/events").json()["items"]
        (event,) = [event for event in events if event["type"] == "refund.requested"]
        assert (event["actor"]["type"], event["cause"]) == ("system", made["id"])
        assert after["refunds"][0]["id"] == derived_id("rfd", "stripe", made["id"])
        total = order["totals"]["total"]["amount"]
        assert balances(shop, order)["provider_balance"] == total - 700
        over = ask(order, amount={"amount": total - 699, "currency": "USD"})
        assert over.status_code == 409

    def test_made_for_all_while_ours_is_on_its_way(self, shop, world, bought, give, settled):
        buyer, order = bought()
        total = order["totals"]["total"]["amount"]
        with shop.without(*shop.workers):
            refund = give(order)
            made = by_hand(shop, buyer, total)
        theirs = derived_id("rfd", "stripe", made["id"])
        after = eventually(lambda: len((found := settled(order))["refunds"]) == 2 and found, 60)
        assert {r["id"]: r["status"] for r in after["refunds"]} == {refund["id"]: "failed", theirs: "succeeded"}
        assert given(world, buyer) == total
        assert not any(balances(shop, order).values())


class TestTwoCards:
    """The first parcel was paid by one card, the second by another, after the first had refused."""

    @pytest.fixture
    def paid_twice(self, shop):
        found = Failed(shop, shop.sku(stock=5), 3, save=False)
        assert found.ship(1).status_code == 201
        found.refuse(quantity=2)
        found.waits_for("new_method")
        assert found.pay().status_code == 200
        assert found.ship(2).status_code == 201
        return found

    def test_take_back_what_each_has_paid_the_newest_first(self, shop, world, paid_twice, give, settled):
        first, second = paid_twice.payments()
        give(paid_twice.order, amount={"amount": second.captured + 1, "currency": "USD"})
        assert settled(paid_twice.order)["payment_status"] == "partially_refunded"
        refunded = [payment.refunded for payment in paid_twice.payments()]
        assert refunded == [1, second.captured]
        give(paid_twice.order)
        assert settled(paid_twice.order)["payment_status"] == "refunded"
        assert given(world, paid_twice.buyer) == first.captured + second.captured
        assert not any(balances(shop, paid_twice.order).values())

    def test_what_one_took_is_given_where_the_other_refuses(self, shop, world, paid_twice, give, ask, now, support):
        order = paid_twice.order
        first, second = paid_twice.payments()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"payment_id": second.id}}
        world.post("/script", service="stripe", match=match, outcomes=[{"kind": "refund_status", "code": "failed"}])
        refund = give(order)
        eventually(lambda: shop.tasks(refund["id"]))
        after = now(order)
        assert {r["id"]: (r["status"], r["amount"]["amount"]) for r in after["refunds"]} == {
            refund["id"]: ("failed", first.captured + second.captured),
            derived_id("rfd", refund["id"], "given"): ("succeeded", first.captured),
        }
        assert after["payment_status"] == "partially_refunded"
        assert given(world, paid_twice.buyer) == first.captured
        assert balances(shop, order)["provider_balance"] == second.captured
        # Only a new one can be asked for: a part of this one is with the buyer.
        resolve(shop, refund, "retry")
        eventually(lambda: len(shop.tasks(refund["id"])) == 2)
        assert given(world, paid_twice.buyer) == first.captured
        again = give(order)
        assert again["amount"]["amount"] == second.captured
        eventually(lambda: now(order)["payment_status"] == "refunded")
        assert not any(balances(shop, order).values())


class TestTheBuyersPart:
    @pytest.mark.parametrize(("word", "status"), [("succeeded", "refunded"), ("failed", "captured")])
    def test_one_that_waits_for_the_buyer_ends_as_the_provider_says(
        self, shop, world, bought, give, settled, word, status
    ):
        _, order = bought()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"order_id": order["id"]}}
        world.post(
            "/script", service="stripe", match=match, outcomes=[{"kind": "refund_status", "code": "requires_action"}]
        )
        refund = give(order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        assert made["status"] == "requires_action"
        world.post(f"/stripe/refunds/{made['id']}/settle", status=word)
        assert settled(order)["payment_status"] == status

    def test_one_that_was_cancelled_at_the_provider_has_failed(self, shop, world, bought, give, settled):
        _, order = bought()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"order_id": order["id"]}}
        world.post(
            "/script", service="stripe", match=match, outcomes=[{"kind": "refund_status", "code": "requires_action"}]
        )
        refund = give(order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        key = {"Authorization": f"Bearer {shop.settings.stripe_api_key.get_secret_value()}"}
        assert shop.http.post(f"{world.url}/v1/refunds/{made['id']}/cancel", headers=key).status_code == 200
        assert settled(order)["refunds"][0]["status"] == "failed"
        assert shop.tasks(refund["id"]) == ["refund-failed"]


class TestPayPal:
    @pytest.mark.parametrize("country", ["US", "JP"])
    def test_gives_back_from_every_parcels_capture(self, shop, world, ship, give, settled, country):
        buyer = shop.buyer(quantity=2, country=country)
        order = approved(world, buyer)
        ship(order, 1)
        ship(order, 1)
        refund = give(order)
        assert refund["amount"] == order["totals"]["total"]
        assert settled(order)["payment_status"] == "refunded"
        (held,) = [one for one in world.get("/paypal/orders") if one["metadata"].get("cart_id") == buyer.cart_id]
        assert held["amount_refunded"] == order["totals"]["total"]["amount"]
        assert not any(balances(shop, order).values())


def approved(world, buyer):
    """The order of a buyer who paid by PayPal."""
    body = {**buyer.body(), "payment": {"provider": "paypal", "method": "paypal"}}
    checkout = buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=new_key()).json()
    (held,) = [one for one in world.get("/paypal/orders") if one["metadata"].get("cart_id") == buyer.cart_id]
    world.post(f"/paypal/orders/{held['id']}/approve", result="success")
    return buyer.ended(checkout["checkout_id"])["order"]
