"""Every part down once: what the table of failure promises says, and nothing charged that was not confirmed."""

from __future__ import annotations

import threading
import time

from tests.fixtures.shop import SKU, THREE_D_SECURE, eventually, new_key, slug


def checks_out_again(buyer, key):
    """The engine may take a moment to be itself again."""
    answer = eventually(lambda: (found := buyer.checkout(key=key)).status_code == 201 and found, within=30)
    assert answer.json()["status"] == "confirmed"


class TestWorkersDown:
    def test_checkout_is_503_within_the_deadline_and_the_same_key_works_later(self, shop, world):
        sku, key = shop.sku(stock=1), new_key()
        buyer = shop.buyer(sku, url=shop.api(checkout_deadline_seconds=1))
        with shop.without(*shop.workers):
            began = time.monotonic()
            answer = buyer.checkout(key=key)
            assert time.monotonic() - began < 8  # of the ten that it would wait by default
            assert (answer.status_code, slug(answer)) == (503, "unavailable")
            assert "retry-after" in answer.headers
            assert buyer.cart()["completed_order"] is None
            assert shop.stock(sku) == (1, 0)
        assert world.intents(buyer.cart_id) == []
        checks_out_again(buyer, key)
        assert len(world.intents(buyer.cart_id)) == 1

    def test_after_something_was_held_it_is_202_and_ends_when_they_are_back(self, shop, world):
        buyer = shop.buyer(url=shop.api(checkout_deadline_seconds=1))
        world.script(buyer.cart_id, {"kind": "delay", "ms": 1500})
        answers = []
        click = threading.Thread(target=lambda: answers.append(buyer.checkout()))
        click.start()
        eventually(lambda: shop.sql("SELECT 1 FROM checkouts WHERE cart_id = :id", id=buyer.cart_id))
        with shop.without(*shop.workers):
            click.join()
            (answer,) = answers
            assert answer.status_code == 202
            assert answer.json()["status"] == "processing"
        assert buyer.ended(answer.json()["checkout_id"], within=30)["status"] == "confirmed"
        assert world.charged(buyer.cart_id) == buyer.total["amount"]

    def test_a_webhook_that_came_meanwhile_is_applied_later(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        with shop.without(*shop.workers):
            world.authenticate(buyer.cart_id)
            (intent,) = world.intents(buyer.cart_id)
            eventually(lambda: shop.sql("SELECT 1 FROM webhook_events WHERE subject = :id", id=intent["id"]))
            assert buyer.read_checkout(checkout_id)["status"] == "requires_action"
        assert buyer.ended(checkout_id, within=30)["status"] == "confirmed"


class TestTemporalDown:
    def test_everything_but_checkout_works_and_that_is_503(self, shop, world):
        buyer, key = shop.buyer(url=shop.api(checkout_deadline_seconds=1)), new_key()
        order = buyer.shop.buyer().buy()
        with shop.without("temporal"):
            assert shop.get("/v1/products").status_code == 200
            buyer.add(SKU)
            assert shop.get(f"/v1/orders/{order['id']}").status_code == 404
            began = time.monotonic()
            answer = buyer.checkout(key=key)
            assert time.monotonic() - began < 8
            assert (answer.status_code, slug(answer)) == (503, "unavailable")
            assert "retry-after" in answer.headers
            ready = shop.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json()["dependencies"]["temporal"]["status"] == "down"
            assert ready.json()["dependencies"]["postgresql"]["status"] == "ok"
        assert world.intents(buyer.cart_id) == []
        checks_out_again(buyer, key)


class TestRedisDown:
    def test_everything_works(self, shop):
        with shop.without("valkey"):
            assert shop.get("/v1/products").status_code == 200
            assert "ratelimit" in shop.get("/v1/products").headers
            assert shop.buyer().buy()["status"] == "confirmed"
            ready = shop.get("/health/ready")
            assert ready.status_code == 200
            assert ready.json()["dependencies"]["redis"]["status"] == "down"


class TestPostgresRestarted:
    def test_while_down_it_is_503_and_webhooks_are_for_the_sender_to_repeat(self, shop):
        buyer = shop.buyer()
        with shop.without("postgres"):
            for answer in (
                buyer.call("GET", f"/v1/carts/{buyer.cart_id}"),
                buyer.checkout(),
            ):
                assert (answer.status_code, slug(answer)) == (503, "unavailable")
                assert "retry-after" in answer.headers
            assert shop.get("/health/ready").status_code == 503
            assert shop.get("/health/live").status_code == 200
        eventually(lambda: buyer.call("GET", f"/v1/carts/{buyer.cart_id}").status_code == 200)

    def test_one_request_at_most_finds_a_dead_connection(self, shop):
        buyer = shop.buyer()
        shop.supervisor.stop("postgres")
        shop.supervisor.restart("postgres")
        statuses = [buyer.call("GET", f"/v1/carts/{buyer.cart_id}").status_code for _ in range(5)]
        statuses += [buyer.call("PUT", f"/v1/carts/{buyer.cart_id}/email", {"email": "a@example.com"}).status_code]
        assert statuses[1:] == [200] * 5
        shop._every_api_has_noticed()

    def test_during_the_charge_is_still_one_order(self, shop, world):
        buyer, key = shop.buyer(), new_key()
        world.script(buyer.cart_id, {"kind": "delay", "ms": 1000})
        answers = []
        click = threading.Thread(target=lambda: answers.append(buyer.checkout(key=key)))
        click.start()
        eventually(lambda: shop.sql("SELECT 1 FROM checkouts WHERE cart_id = :id", id=buyer.cart_id))
        with shop.without("postgres"):
            time.sleep(0.5)
        click.join()
        assert answers[0].status_code in (201, 202, 503), answers[0].text
        checks_out_again(buyer, key)
        assert len(shop.orders_of(buyer.cart_id)) == 1
        assert world.charged(buyer.cart_id) == buyer.total["amount"]

    def test_while_the_buyer_is_at_the_bank_loses_nothing(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        with shop.without("postgres"):
            world.authenticate(buyer.cart_id)
        assert buyer.ended(checkout_id, within=20)["status"] == "confirmed"
