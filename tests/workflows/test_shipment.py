"""A parcel's process: it looks when something is heard, asks when nothing is, and misses what stays silent."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import Worker

from activities.delivery.tasks import Tasks
from activities.orders.parcels import Parcels
from models.accounts.access import Role
from models.db.session import Database
from models.ids import shipment_workflow
from tests.fixtures.executions import details
from tests.fixtures.parcels import follow, happen, is_followed
from tests.fixtures.shop import eventually, new_key
from workflows.shipment import Shipment


def send(shop, quantity=1, **more):
    """A parcel of one of two units, on its way with the carrier whose label it has; its shipment."""
    buyer = shop.buyer(quantity=quantity + 1)
    order = buyer.buy()
    body = {"lines": [{"line_id": order["lines"][0]["id"], "quantity": quantity}], **more}
    answer = shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, shop.bearer(Role.WAREHOUSE))
    assert answer.status_code == 201, answer.text
    eventually(lambda: is_followed(shop, answer.json()))
    return {**answer.json(), "email": buyer.email}


def tracked(shop, parcel):
    order = shop.get(f"/v1/orders/{parcel['order_id']}", shop.bearer(Role.SUPPORT)).json()
    return next(found for found in order["shipments"] if found["id"] == parcel["id"])


def status(shop, parcel):
    return tracked(shop, parcel)["status"]


def result(shop, parcel):
    return shop.temporal(lambda client: client.get_workflow_handle(shipment_workflow(parcel["id"])).result())


def terminate(shop, parcel):
    shop.temporal(lambda client: client.get_workflow_handle(shipment_workflow(parcel["id"])).terminate())


def asked(shop, parcel):
    """How often the carrier was."""
    path = f"/carrier/tracking/{parcel['tracking_number']}"
    return len(shop.world.get("/calls", service="carrier", path=path))


def runs(shop, parcel):
    async def ask(client):
        found = await client.get_workflow_handle(shipment_workflow(parcel["id"])).describe()
        history = await client.get_workflow_handle(shipment_workflow(parcel["id"])).fetch_history()
        first = history.events[0].workflow_execution_started_event_attributes.first_execution_run_id
        return found.run_id, first

    return shop.temporal(ask)


class TestWhatIsHeard:
    @pytest.mark.parametrize("end", ["delivered", "lost", "returned_to_sender"])
    def test_ends_it(self, shop, end):
        parcel = send(shop)
        happen(shop, parcel, "in_transit")
        happen(shop, parcel, end)
        assert result(shop, parcel) == end

    def test_shows_in_its_details(self, shop):
        parcel = send(shop)
        happen(shop, parcel, "out_for_delivery")
        eventually(lambda: details(shop, shipment_workflow(parcel["id"])) == "Out for delivery")

    def test_begins_it_anew_where_an_operator_has_ended_it(self, shop):
        parcel = send(shop)
        terminate(shop, parcel)
        happen(shop, parcel, "in_transit")
        eventually(lambda: is_followed(shop, parcel))
        happen(shop, parcel, "delivered")
        assert result(shop, parcel) == "delivered"

    def test_does_not_begin_it_anew_once_it_has_ended(self, shop):
        parcel = send(shop)
        happen(shop, parcel, "delivered")
        result(shop, parcel)
        happen(shop, parcel, "in_transit")
        eventually(lambda: len(tracked(shop, parcel)["events"]) == 2)
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE aggregate = :id", id=parcel["id"]))
        assert not shop.running(shipment_workflow(parcel["id"]))


class TestSilence:
    def test_makes_it_ask_and_what_a_lost_webhook_would_have_said_is_known(self, shop):
        parcel = send(shop)
        with shop.world.webhooks("carrier", mode="drop"):
            happen(shop, parcel, "in_transit", location="Reno")
            follow(shop, parcel, silent_seconds=60)
            eventually(lambda: status(shop, parcel) == "in_transit")
            happen(shop, parcel, "delivered")
            assert result(shop, parcel) == "delivered"
        assert [scan["status"] for scan in tracked(shop, parcel)["events"]] == ["in_transit", "delivered"]

    def test_for_too_long_is_a_lost_parcel(self, shop):
        parcel = send(shop)
        follow(shop, parcel)
        assert result(shop, parcel) == "lost"
        assert status(shop, parcel) == "lost"
        assert shop.tasks(parcel["id"]) == ["parcel-lost"]
        assert asked(shop, parcel) >= 2
        eventually(lambda: any("lost" in mail["subject"] for mail in shop.world.mail(parcel["email"])))

    def test_of_another_carriers_parcel_is_a_task_and_no_loss(self, shop):
        parcel = send(shop, carrier="ups", tracking_number=f"1Z{new_key()}")
        follow(shop, parcel)
        eventually(lambda: shop.tasks(parcel["id"]) == ["parcel-silent"])
        assert asked(shop, parcel) >= 1
        assert status(shop, parcel) == "shipped"
        assert not [mail for mail in shop.world.mail(parcel["email"]) if "lost" in mail["subject"]]

    def test_is_broken_by_every_word(self, shop):
        parcel = send(shop)
        follow(shop, parcel, silent_seconds=1.2)
        for hour in range(3):
            happen(shop, parcel, "in_transit", at=f"2026-03-01T0{hour}:00:00Z")
            eventually(lambda hour=hour: len(tracked(shop, parcel)["events"]) == hour + 1)
            with pytest.raises(AssertionError):
                eventually(lambda: status(shop, parcel) == "lost", within=0.6)
        assert result(shop, parcel) == "lost"

    def test_of_a_carrier_that_is_down_loses_nothing(self, shop):
        parcel = send(shop)
        match = {"path": f"/carrier/tracking/{parcel['tracking_number']}"}
        shop.world.post(
            "/script", service="carrier", match=match, outcomes=[{"kind": "status_before"}], repeat="forever"
        )
        follow(shop, parcel)
        eventually(lambda: asked(shop, parcel) >= 2)
        assert status(shop, parcel) == "shipped"
        shop.world.forget_scripts()
        assert result(shop, parcel) == "lost"

    def test_where_there_is_nobody_to_ask_is_a_task_and_no_loss(self, shop):
        parcel = send(shop)
        database = Database(shop.settings.database, pool_size=2)
        lonely = Parcels(database, None)

        async def run(client):
            with ThreadPoolExecutor(2) as threads:
                async with Worker(
                    client,
                    task_queue="lonely",
                    workflows=[Shipment],
                    activities=[
                        lonely.load_shipment,
                        lonely.poll_carrier,
                        lonely.declare_shipment_lost,
                        Tasks(database).open_task,
                    ],
                    activity_executor=threads,
                ):
                    await asyncio.to_thread(follow, shop, parcel, queue="lonely")
                    await asyncio.to_thread(eventually, lambda: shop.tasks(parcel["id"]) == ["parcel-silent"])
                    assert status(shop, parcel) == "shipped"
                    await asyncio.to_thread(happen, shop, parcel, "delivered")
                    return await client.get_workflow_handle(shipment_workflow(parcel["id"])).result()

        assert shop.temporal(run) == "delivered"
        database.close()


class TestAnewWithAnEmptyHistory:
    def test_it_goes_on_where_it_was(self, shop):
        parcel = send(shop)
        follow(shop, parcel, looks=2, silent_seconds=60)
        for hour in range(3):
            happen(shop, parcel, "in_transit", at=f"2026-03-01T0{hour}:00:00Z")
            eventually(lambda hour=hour: len(tracked(shop, parcel)["events"]) == hour + 1)
        run, first = eventually(lambda: found if (found := runs(shop, parcel))[0] != found[1] else None)
        assert run != first
        happen(shop, parcel, "delivered")
        assert result(shop, parcel) == "delivered"

    def test_its_silence_goes_on_too(self, shop):
        parcel = send(shop)
        follow(shop, parcel, looks=1)
        assert result(shop, parcel) == "lost"


class TestBusinessTime:
    def test_ten_silent_days_are_a_lost_parcel_and_nine_are_not(self, timeless):
        parcel = send(timeless)
        timeless.asleep(shipment_workflow(parcel["id"]))
        timeless.skip(days=9)
        timeless.asleep(shipment_workflow(parcel["id"]))
        assert status(timeless, parcel) == "shipped"
        assert 30 <= asked(timeless, parcel) <= 37  # four times a day
        timeless.skip(days=1, hours=1)
        assert result(timeless, parcel) == "lost"
        assert timeless.tasks(parcel["id"]) == ["parcel-lost"]


def test_cancelling_it_ends_it(shop):
    async def ended(client):
        handle = client.get_workflow_handle(shipment_workflow(parcel["id"]))
        await handle.cancel()
        while (found := (await handle.describe()).status) is WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.05)
        return found

    parcel = send(shop)
    assert shop.temporal(ended) is WorkflowExecutionStatus.CANCELED
