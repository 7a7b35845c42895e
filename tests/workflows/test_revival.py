"""Terminating an execution in the Temporal UI is survivable at every state: what it carried is taken up again."""

from __future__ import annotations

import pytest
from temporalio.service import RPCError, RPCStatusCode

from models.access import Role
from models.db.session import Database
from models.ids import (
    order_workflow,
    remove_payment_method_workflow,
    return_workflow,
    shipment_workflow,
)
from tests.fixtures.cards import Wallet
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import eventually, new_key
from workers.reviver import Reviver

DOWN = {"kind": "status_before", "status": 503}


@pytest.fixture(scope="module")
def revive(shop):
    """A round for which nothing is too young; ids of what it had begun anew."""

    def act(**more):
        database = Database(shop.settings.database, pool_size=2)

        async def round_(client):
            return await Reviver(database, client, margin=-1_000_000, page=100_000, **more).round()

        try:
            return shop.temporal(round_)
        finally:
            database.close()

    return act


@pytest.fixture(scope="module")
def terminate(shop):
    """As an operator does, once it runs."""

    def act(workflow_id):
        def running():
            try:
                return shop.running(workflow_id)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:  # it is started in a moment
                    return False
                raise

        eventually(running)
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).terminate("by hand"))

    return act


@pytest.fixture(scope="module")
def status(shop):
    return lambda order: shop.get(f"/v1/orders/{order['id']}", shop.bearer(Role.SUPPORT)).json()["status"]


class TestAnOrder:
    def test_that_waits_for_the_warehouse(self, shop, world, revive, terminate, status):
        buyer = shop.buyer()
        order = buyer.buy()
        eventually(lambda: world.mail(buyer.email))
        terminate(order_workflow(order["id"]))
        eventually(lambda: order["id"] in revive())
        eventually(lambda: shop.running(order_workflow(order["id"])))
        deliver(shop, ship(shop, order))
        eventually(lambda: status(order) == "completed")
        assert len([mail for mail in world.mail(buyer.email) if order["number"] in mail["subject"]]) >= 1

    def test_that_was_cancelled_and_still_holds_money(self, shop, world, revive, terminate):
        buyer = shop.buyer()
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        match = {"path": f"/v1/payment_intents/{intent['id']}/cancel"}
        world.post("/script", service="stripe", match=match, outcomes=[DOWN], repeat="forever")
        eventually(lambda: shop.running(order_workflow(order["id"])))
        answer = shop.post(f"/v1/orders/{order['id']}/cancel", {"reason": "changed my mind"}, shop.bearer(Role.SUPPORT))
        assert answer.status_code in (200, 202), answer.text
        terminate(order_workflow(order["id"]))
        eventually(lambda: order["id"] in revive())
        world.forget_scripts()  # only now: a try under way would still have let go of it
        eventually(lambda: world.charged(buyer.cart_id) == 0)
        eventually(lambda: not shop.running(order_workflow(order["id"])))
        assert order["id"] not in revive()

    def test_in_its_return_window(self, shop, revive, terminate, status):
        order = shop.buyer().buy()
        deliver(shop, ship(shop, order))
        terminate(order_workflow(order["id"]))
        eventually(lambda: status(order) == "delivered")
        eventually(lambda: order["id"] in revive())
        eventually(lambda: status(order) == "completed")


class TestWhatBelongsToIt:
    def test_a_parcel_on_its_way(self, shop, revive, terminate, status):
        order = shop.buyer().buy()
        shipment = ship(shop, order)
        terminate(shipment_workflow(shipment["id"]))
        eventually(lambda: shipment["id"] in revive())
        eventually(lambda: shop.running(shipment_workflow(shipment["id"])))

    def test_a_return_that_is_expected(self, shop, revive, terminate):
        order = shop.buyer().buy()
        deliver(shop, ship(shop, order))
        lines = [{"line_id": order["lines"][0]["id"], "quantity": 1, "reason": "too small"}]
        headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
        answer = shop.post(f"/v1/orders/{order['id']}/returns", {"lines": lines}, headers)
        assert answer.status_code == 201, answer.text
        return_id = answer.json()["id"]
        terminate(return_workflow(return_id))
        eventually(lambda: return_id in revive())
        eventually(lambda: shop.running(return_workflow(return_id)))

    def test_a_card_that_is_to_go(self, shop, world, revive, terminate):
        wallet = Wallet(shop)
        entry = wallet.saved()["id"]
        path = f"/v1/payment_methods/{wallet.row(entry).reference}/detach"
        world.post("/script", service="stripe", match={"path": path}, outcomes=[DOWN], repeat="forever")
        wallet.call("DELETE", f"/{entry}")
        terminate(remove_payment_method_workflow(entry))
        eventually(lambda: entry in revive())
        world.forget_scripts()  # only now: a try under way would still have detached it
        assert wallet.ended(entry).state == "removed"


def test_who_has_a_process_is_left_alone(shop, revive):
    order = shop.buyer().buy()
    shipment = ship(shop, shop.buyer().buy())
    eventually(lambda: shop.running(order_workflow(order["id"])))
    eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE aggregate = :id", id=shipment["id"]))
    assert {order["id"], shipment["id"], shipment["order_id"]}.isdisjoint(revive())


def test_a_page_at_a_time_reaches_all(shop, terminate):
    lost = [shop.buyer().buy()["id"] for _ in range(2)]
    for order_id in lost:
        terminate(order_workflow(order_id))
    database = Database(shop.settings.database, pool_size=2)

    async def rounds(client):
        reviver = Reviver(database, client, margin=-1_000_000, page=3)
        told = []
        for _ in range(200):
            told += await reviver.round()
            if set(lost) <= set(told):
                break
        return told

    try:
        assert set(lost) <= set(shop.temporal(rounds))
    finally:
        database.close()
