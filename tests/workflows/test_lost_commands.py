"""A command that was lost with its worker, after it had written that it began: its process hears of it, and goes on."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from models.ids import new_id
from models.payments.retry import Asked
from tests.fixtures.lost import lose_parcel, lose_try
from tests.fixtures.retries import Failed
from tests.fixtures.shop import eventually


@pytest.fixture
def failed(shop):
    found = Failed(shop, shop.sku(stock=5), save=False)
    found.refuse()
    found.waits_for("new_method")
    return found


def test_a_try_is_made_and_its_asker_finds_the_answer(shop, failed):
    key = new_id("key")
    planned = lose_try(shop, failed.id, Asked(key_digest=key, fingerprint="same"))
    failed.ended("paid")
    assert failed.status == "processing"
    assert [payment["metadata"]["payment_id"] for payment in failed.live()] == [planned.charge.payment_id]
    assert shop.sql("SELECT 1 FROM kept_answers WHERE key_digest = :key AND status = 200", key=key)


def test_a_try_of_another_method_meanwhile_counts(shop, failed):
    """Nobody was asked for the first one's money yet."""
    lose_try(shop, failed.id)
    answer = failed.pay("pm_card_mastercard")
    assert answer.status_code in (200, 409), answer.text  # 409: the first one was quicker
    failed.ended("paid")
    assert len(failed.live()) == 1


def test_a_parcel_goes_out(shop, world):
    buyer = shop.buyer()
    order = buyer.buy()
    eventually(lambda: world.mail(buyer.email))  # its process has begun
    parcel = lose_parcel(shop, order)

    def shipped():
        return [found["id"] for found in shop.get(f"/v1/orders/{order['id']}", buyer.headers).json()["shipments"]]

    eventually(lambda: shipped() == [parcel["id"]])
    (intent,) = world.intents(buyer.cart_id)
    assert intent["amount_received"] == buyer.total["amount"]


def test_a_parcel_keeps_its_label_when_the_one_that_finds_it_is_refused(shop, world):
    """Both are of the same units: the first goes out, the second is refused."""
    buyer = shop.buyer()
    order = buyer.buy()
    eventually(lambda: world.mail(buyer.email))
    parcel = lose_parcel(shop, order, labelled=False, at_once=False)
    lines = [{"line_id": line["id"], "quantity": line["quantity"]} for line in order["lines"]]
    body = {"lines": lines, "carrier": "ups", "tracking_number": f"1Z-{parcel['id']}"}
    answer = shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, shop.bearer(Role.WAREHOUSE))
    assert answer.status_code == 409, answer.text
    (sent,) = shop.get(f"/v1/orders/{order['id']}", buyer.headers).json()["shipments"]
    assert sent["id"] == parcel["id"]
    (label,) = world.get("/carrier/labels", reference=parcel["id"])
    assert label["status"] == "purchased"
    (intent,) = world.intents(buyer.cart_id)
    assert intent["amount_received"] == buyer.total["amount"]


def test_what_has_ended_tells_nobody(shop, failed):
    """It costs nothing where nothing is lost."""
    assert failed.pay().status_code == 200
    assert failed.ship().status_code == 201
    begun = "SELECT count(*) FROM outbox WHERE aggregate LIKE 'scheduled/%' AND data ->> 'order_id' = :id"
    assert shop.sql(begun, id=failed.id)[0][0] == 0
