"""Many clicks at the same moment: the database decides, once."""

from __future__ import annotations

from tests.fixtures.shop import at_once, slug


def test_twenty_keys_on_one_cart_make_one_order_and_one_charge(shop, world):
    sku = shop.sku(stock=5)
    buyer = shop.buyer(sku)
    answers = at_once([buyer.checkout] * 20)
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 19]
    refused = {slug(answer) for answer in answers if answer.status_code == 409}
    assert refused <= {"cart-completed", "checkout-in-progress"}
    assert len(shop.orders_of(buyer.cart_id)) == 1
    assert [intent["amount"] for intent in world.intents(buyer.cart_id)] == [buyer.total["amount"]]
    assert shop.stock(sku) == (5, 1)


def test_the_last_unit_is_sold_once(shop, world):
    sku = shop.sku(stock=1)
    buyers = [shop.buyer(sku) for _ in range(10)]
    answers = at_once([buyer.checkout for buyer in buyers])
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 9]
    assert {slug(answer) for answer in answers if answer.status_code == 409} == {"out-of-stock"}
    assert sum(world.charged(buyer.cart_id) > 0 for buyer in buyers) == 1
    assert shop.stock(sku) == (1, 1)


def test_a_codes_last_use_is_given_once(shop, world):
    code = shop.promotion(percent=10, limit=1)
    buyers = [shop.buyer() for _ in range(6)]
    for buyer in buyers:
        buyer.change("POST", "/discounts", {"code": code})
    answers = at_once([buyer.checkout for buyer in buyers])
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert {slug(answer) for answer in answers if answer.status_code == 409} == {"price-changed"}
    assert shop.sql("SELECT used FROM promotions WHERE code = :code", code=code)[0].used == 1
    assert sum(world.charged(buyer.cart_id) > 0 for buyer in buyers) == 1


def test_buyers_of_the_same_skus_in_any_order_never_deadlock(shop):
    skus = [shop.sku(stock=100) for _ in range(3)]
    buyers = []
    for turn in range(8):
        buyer = shop.visitor()
        for sku in skus[turn % 3 :] + skus[: turn % 3]:
            buyer.add(sku, 2)
        buyers.append(buyer.prepare())
    assert {answer.status_code for answer in at_once([buyer.checkout for buyer in buyers])} == {201}
    assert [shop.stock(sku) for sku in skus] == [(100, 16)] * 3


def test_a_cart_that_changes_during_its_checkout_is_sold_as_it_was_priced(shop, world):
    buyer = shop.buyer(quantity=1)
    world.script(buyer.cart_id, {"kind": "delay", "ms": 500})

    def change():
        import time

        time.sleep(0.25)
        return buyer.call("POST", f"/v1/carts/{buyer.cart_id}/items", {"sku": "HF-TRAIL-JKT-M-RED", "quantity": 1})

    answer, _ = at_once([buyer.checkout, change])
    assert answer.status_code == 201
    assert [line["quantity"] for line in answer.json()["order"]["lines"]] == [1]
    assert world.charged(buyer.cart_id) == answer.json()["order"]["totals"]["total"]["amount"]
