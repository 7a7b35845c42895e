"""A command that was lost with its worker, after it had written that it began: its process hears of it, and goes on."""

from __future__ import annotations

import pytest

from models.db.repositories import payment_tries, shipments
from models.db.session import Database
from models.fulfilment import ShipParcel
from models.ids import new_id
from models.orders import SYSTEM, ShippedLine
from models.payment_retry import Asked, PlanTry
from tests.fixtures.retries import Failed
from tests.fixtures.shop import eventually


@pytest.fixture
def lost(shop):
    """What a worker wrote before it died. Its process is told at once; as it is, some seconds later."""
    database = Database(shop.settings.database, pool_size=1)

    def act(write, command):
        with database.transaction() as connection:
            written = write(connection, command)
            connection.exec_driver_sql("UPDATE outbox SET due_at = now() WHERE aggregate LIKE 'begun/%%'")
        return written

    yield act
    database.close()


@pytest.fixture
def failed(shop):
    found = Failed(shop, shop.sku(stock=5), save=False)
    found.refuse()
    found.waits_for("new_method")
    return found


def test_a_try_is_made_and_its_asker_finds_the_answer(shop, failed, lost):
    key = new_id("key")
    asked = Asked(key_digest=key, fingerprint="same")
    planned = lost(
        payment_tries.plan,
        PlanTry(order_id=failed.id, number=1, provider="stripe", method="pm_card_visa", asked=asked),
    )
    failed.ended("paid")
    assert failed.status == "processing"
    assert [payment["metadata"]["payment_id"] for payment in failed.live()] == [planned.charge.payment_id]
    assert shop.sql("SELECT 1 FROM kept_answers WHERE key_digest = :key AND status = 200", key=key)


def test_a_try_of_another_method_meanwhile_counts(shop, failed, lost):
    """Nobody was asked for the first one's money yet."""
    lost(payment_tries.plan, PlanTry(order_id=failed.id, number=1, provider="stripe", method="pm_card_visa"))
    answer = failed.pay("pm_card_mastercard")
    assert answer.status_code in (200, 409), answer.text  # 409: the first one was quicker
    failed.ended("paid")
    assert len(failed.live()) == 1


def test_a_parcel_goes_out(shop, world, lost):
    buyer = shop.buyer()
    order = buyer.buy()
    shipment_id = new_id("shp")
    command = ShipParcel(
        order_id=order["id"],
        shipment_id=shipment_id,
        lines=[ShippedLine(line_id=line["id"], quantity=line["quantity"]) for line in order["lines"]],
        carrier="ups",
        tracking_number=f"1Z{shipment_id}",
        actor=SYSTEM,
        cause=shipment_id,
    )
    lost(shipments.plan_shipment, command)

    def shipped():
        return [parcel["id"] for parcel in shop.get(f"/v1/orders/{order['id']}", buyer.headers).json()["shipments"]]

    eventually(lambda: shipped() == [shipment_id])
    (intent,) = world.intents(buyer.cart_id)
    assert intent["amount_received"] == buyer.total["amount"]


def test_what_has_ended_tells_nobody(shop, failed):
    """It costs nothing where nothing is lost."""
    assert failed.pay().status_code == 200
    assert failed.ship().status_code == 201
    begun = "SELECT count(*) FROM outbox WHERE aggregate LIKE 'begun/%' AND data ->> 'order_id' = :id"
    assert shop.sql(begun, id=failed.id)[0][0] == 0
