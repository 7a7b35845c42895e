"""Terminating an execution in the Temporal UI is survivable at every state: what it carried is taken up again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode

from models.accounts.access import Role
from models.db.session import Database
from models.ids import (
    order_workflow,
    remove_payment_method_workflow,
    return_workflow,
    shipment_workflow,
)
from tests.fixtures.cards import Wallet
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import Shop, eventually, new_key
from workers.orphans import Sweeper

DOWN = {"kind": "status_before", "status": 503}


@pytest.fixture(scope="module")
def revive(shop):
    """A round for which nothing is too young; ids of what it had begun anew."""

    def act(**more):
        database = Database(shop.settings.database, pool_size=2)

        async def round_(client):
            return await Sweeper(shop.settings, database, client, margin=-1_000_000, page=100_000, **more).round()

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
        eventually(lambda: shop.ended(order_workflow(order["id"])))
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


@dataclass
class HandOver:
    """The warehouse hands over one of two units, the provider's answers are lost, and an operator ends the process."""

    shop: Shop
    terminate: Callable[[str], None]
    buyer: Any
    order: dict[str, Any]
    intent: str

    def begin(self, *outcomes: dict[str, Any]) -> None:
        """Until the first of these has come of the capture; from the last one on the provider is down."""
        intent = f"/v1/payment_intents/{self.intent}"
        if outcomes:
            match = {"path": f"{intent}/capture"}
            self.shop.world.post("/script", service="stripe", match=match, outcomes=list(outcomes))
        self.shop.world.post("/script", service="stripe", match={"path": intent}, outcomes=[DOWN], repeat="forever")
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(self.ask, "1Z-FIRST")
            eventually(lambda: len(self.calls()) > len(outcomes))
            self.terminate(order_workflow(self.order["id"]))
            assert asking.result().status_code in (409, 503)

    def ask(self, number: str) -> httpx.Response:
        lines = [{"line_id": self.order["lines"][0]["id"], "quantity": 1}]
        body = {"lines": lines, "carrier": "ups", "tracking_number": f"{number}-{self.order['number']}"}
        path = f"/v1/fulfilment/orders/{self.order['id']}/shipments"
        return self.shop.post(path, body, self.shop.bearer(Role.WAREHOUSE))

    def calls(self) -> list[dict[str, Any]]:
        path = f"/v1/payment_intents/{self.intent}"
        return [call for call in self.shop.world.get("/calls", service="stripe") if call["path"].startswith(path)]

    def seen(self) -> dict[str, Any]:
        return self.shop.get(f"/v1/orders/{self.order['id']}", self.shop.bearer(Role.SUPPORT)).json()

    def taken(self) -> tuple[int, int]:
        """By the provider, and by our books."""
        (intent,) = self.shop.world.intents(self.buyer.cart_id)
        (row,) = self.shop.sql("SELECT captured FROM payments WHERE order_id = :id", id=self.order["id"])
        return intent["amount_received"], row.captured


class TestAParcelThatWasBeingHandedOver:
    """Its money may be taken: it goes out, once, whoever asks for what meanwhile."""

    @pytest.fixture
    def handover(self, shop, world, terminate):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        yield HandOver(shop, terminate, buyer, order, intent["id"])
        world.forget_scripts()

    def test_goes_out_without_being_asked_for_again(self, handover, world, revive):
        handover.begin()
        eventually(lambda: handover.order["id"] in revive())
        world.forget_scripts()
        eventually(lambda: handover.seen()["status"] == "partially_shipped")
        theirs, ours = handover.taken()
        assert theirs == ours > 0

    def test_is_not_paid_again_under_a_forgotten_key(self, handover, world, revive):
        handover.begin({"kind": "status_after", "status": 500})
        world.post("/stripe/forget-keys")
        eventually(lambda: handover.order["id"] in revive())
        world.forget_scripts()
        eventually(lambda: handover.seen()["status"] == "partially_shipped")
        theirs, ours = handover.taken()
        assert theirs == ours == handover.seen()["shipments"][0]["captured"]["amount"]

    def test_goes_out_before_another_one(self, handover, world):
        handover.begin({"kind": "status_after", "status": 500})
        world.forget_scripts()
        answer = handover.ask("1Z-SECOND")
        assert answer.status_code == 201, answer.text
        numbers = [parcel["tracking_number"] for parcel in handover.seen()["shipments"]]
        assert numbers == [f"1Z-{which}-{handover.order['number']}" for which in ("FIRST", "SECOND")]
        theirs, ours = handover.taken()
        assert theirs == ours == handover.seen()["totals"]["total"]["amount"]


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
        sweeper = Sweeper(shop.settings, database, client, margin=-1_000_000, page=3)
        told = []
        for _ in range(200):
            told += await sweeper.round()
            if set(lost) <= set(told):
                break
        return told

    try:
        assert set(lost) <= set(shop.temporal(rounds))
    finally:
        database.close()
