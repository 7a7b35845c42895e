"""The Order workflow: what operators see, its starts, commands lost with their worker, long histories, the return
window."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy

from models.accounts.access import Role
from models.ids import derived_id, order_workflow
from models.orders.commands import Initiator
from models.orders.fulfilment import CreateShipment, FulfilOrder
from models.orders.orders import Actor, ShippedLine
from models.states import OrderStatus
from tests.fixtures.executions import describe, details, listed
from tests.fixtures.lost import lose_parcel
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import at_once, eventually, new_key
from workflows import queues
from workflows.order import DETAILS, Order

LIMIT = 40  # events: a few updates' worth
STAFF = Initiator(actor=Actor(type="staff", id="usr_staff"))


def say(shop, order, update, *arguments, key=None):
    """As a person in the Temporal UI would, with an update id of one's own."""
    key = key or new_key()

    async def ask(client):
        handle = client.get_workflow_handle(order_workflow(order["id"]))
        return await handle.execute_update(update, *arguments, id=key)

    return shop.temporal(ask)


class TestWhatOperatorsSee:
    def test_an_order_is_found_by_its_status(self, shop):
        order = shop.buyer().buy()
        query = f'OrderId = "{order["id"]}" AND OrderStatus = "confirmed"'
        assert eventually(lambda: listed(shop, query)) == [order_workflow(order["id"])]

    def test_details_status_and_result_follow_it(self, shop):
        order = shop.buyer().buy()
        workflow_id = order_workflow(order["id"])
        eventually(lambda: shop.running(workflow_id))
        assert details(shop, workflow_id) == DETAILS[OrderStatus.CONFIRMED]
        say(shop, order, Order.hold, STAFF)
        assert details(shop, workflow_id) == DETAILS[OrderStatus.ON_HOLD]
        query = f'OrderId = "{order["id"]}" AND OrderStatus = "on_hold"'
        assert eventually(lambda: listed(shop, query)) == [workflow_id]
        assert say(shop, order, Order.cancel, STAFF) == OrderStatus.CANCELLED
        result = shop.temporal(lambda client: client.get_workflow_handle_for(Order.run, workflow_id).result())
        assert result is OrderStatus.CANCELLED


class TestStarts:
    def test_told_twice_they_start_once(self, shop):
        order = shop.buyer().buy()
        workflow_id = order_workflow(order["id"])
        eventually(lambda: listed(shop, f'OrderId = "{order["id"]}" AND WorkflowType = "Order"'))
        run = describe(shop, workflow_id).run_id
        shop.sql(
            "INSERT INTO outbox (topic, aggregate, data) VALUES ('order.confirmed', :id, CAST(:data AS jsonb))",
            id=order["id"],
            data=f'{{"order_id": "{order["id"]}"}}',
        )
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE aggregate = :id", id=order["id"]))
        assert describe(shop, workflow_id).run_id == run

    def test_one_that_was_terminated_goes_on_with_the_next_parcel(self, shop, world):
        buyer = shop.buyer()
        order = buyer.buy()
        workflow_id = order_workflow(order["id"])
        eventually(lambda: len(world.mail(buyer.email)) == 1)
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).terminate())
        body = {
            "lines": [{"line_id": order["lines"][0]["id"], "quantity": 1}],
            "carrier": "ups",
            "tracking_number": new_key(),
        }
        answer = shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, shop.bearer(Role.WAREHOUSE))
        assert answer.status_code == 201, answer.text
        assert describe(shop, workflow_id).status is WorkflowExecutionStatus.RUNNING
        confirmations = [mail for mail in world.mail(buyer.email) if mail["subject"].endswith(order["number"])]
        assert len(confirmations) == 1


class TestACommandLostWithItsWorker:
    """It had written that it began: the process hears of it, and goes on."""

    def test_a_parcel_goes_out(self, shop, world):
        buyer = shop.buyer()
        order = buyer.buy()
        eventually(lambda: world.mail(buyer.email))  # its process has begun
        parcel = lose_parcel(shop, order)

        def shipped():
            return [found["id"] for found in shop.get(f"/v1/orders/{order['id']}", buyer.headers).json()["shipments"]]

        eventually(lambda: shipped() == [parcel["id"]])
        (intent,) = world.intents(buyer.cart_id)
        assert intent["amount_received"] == buyer.total["amount"]

    def test_a_parcel_keeps_its_label_when_the_one_that_finds_it_is_refused(self, shop, world):
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


def runs(shop, order):
    """Every execution of it, the oldest first: run id and how it ended."""

    async def ask(client):
        query = f'WorkflowId = "{order_workflow(order["id"])}"'
        found = [(each.start_time, each.run_id, each.status) async for each in client.list_workflows(query)]
        return [(run_id, status) for _, run_id, status in sorted(found, key=lambda each: each[0])]

    return shop.temporal(ask)


def continued(shop, order):
    return [run_id for run_id, status in runs(shop, order) if status is WorkflowExecutionStatus.CONTINUED_AS_NEW]


def grow(shop, order):
    """Until the present execution has been left behind."""
    before = len(continued(shop, order))
    for _ in range(LIMIT):
        say(shop, order, Order.hold, STAFF)
        say(shop, order, Order.release, STAFF)
        if len(continued(shop, order)) > before:
            return
    raise AssertionError("its history only grows")


class TestALongHistory:
    """It goes on in a new execution, and whoever speaks to it meanwhile is answered."""

    @pytest.fixture
    def order(self, shop, world):
        """Five of one line, carried by a process that leaves its history behind every few updates."""
        buyer = shop.buyer(quantity=5)
        placed = buyer.buy()
        eventually(lambda: world.mail(buyer.email))

        async def begin_anew(client: Client) -> None:
            await client.get_workflow_handle(order_workflow(placed["id"])).terminate()
            await client.start_workflow(
                Order.run,
                FulfilOrder(order_id=placed["id"], return_window_seconds=1.5, resumed=True, history_limit=LIMIT),
                id=order_workflow(placed["id"]),
                task_queue=queues.ORDERS,
                task_timeout=timedelta(seconds=5),
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            )

        shop.temporal(begin_anew)
        return {**placed, "buyer": buyer}

    def test_it_goes_on_where_it_was(self, shop, world, order):
        parcel = ship(shop, order, 2)
        grow(shop, order)
        deliver(shop, parcel)
        grow(shop, order)
        deliver(shop, ship(shop, order, 3))
        ended = eventually(lambda: [each for each in runs(shop, order) if each[1] is WorkflowExecutionStatus.COMPLETED])
        assert len(ended) == 1
        assert shop.sql("SELECT status FROM orders WHERE id = :id", id=order["id"])[0].status == "completed"
        assert (
            len([mail for mail in world.mail(order["buyer"].email) if mail["subject"].endswith(order["number"])]) == 1
        )

    def test_updates_that_race_it_are_all_answered(self, shop, world, order):
        """Through HTTP, at once, while every few of them end an execution."""
        path = f"/v1/fulfilment/orders/{order['id']}/shipments"
        line = order["lines"][0]["id"]

        def parcel():
            body = {"lines": [{"line_id": line, "quantity": 1}], "carrier": "ups", "tracking_number": new_key()}
            return shop.post(path, body, {**shop.bearer(Role.WAREHOUSE), "Idempotency-Key": new_key()})

        answers = []
        for _ in range(5):
            answers += [answer for eight in at_once([lambda: [parcel() for _ in range(8)]] * 3) for answer in eight]
            if len(continued(shop, order)) >= 2:
                break
        assert {answer.status_code for answer in answers} <= {201, 409}, [answer.text for answer in answers]
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 5
        assert len(continued(shop, order)) >= 2
        assert world.charged(order["buyer"].cart_id) == order["totals"]["total"]["amount"]
        assert [
            row.n for row in shop.sql("SELECT count(*) AS n FROM shipments WHERE order_id = :id", id=order["id"])
        ] == [5]

    def test_an_update_that_comes_again_to_the_next_execution_does_no_harm(self, shop, world, order):
        """The server has forgotten its id with the execution; the database has not."""
        key = new_key()
        shipment_id = derived_id("shp", key)
        command = CreateShipment(
            order_id=order["id"],
            shipment_id=shipment_id,
            lines=[ShippedLine(line_id=order["lines"][0]["id"], quantity=1)],
            carrier="ups",
            tracking_number=key,
            actor=STAFF.actor,
            cause=shipment_id,
        )
        say(shop, order, Order.ship, command, key=f"ship/{shipment_id}")
        say(shop, order, Order.hold, STAFF, key="hold/once")
        say(shop, order, Order.release, STAFF, key="release/once")
        charged = world.charged(order["buyer"].cart_id)
        events = shop.sql("SELECT count(*) AS n FROM order_events WHERE order_id = :id", id=order["id"])[0].n
        grow(shop, order)
        grown = shop.sql("SELECT count(*) AS n FROM order_events WHERE order_id = :id", id=order["id"])[0].n
        assert grown > events
        say(shop, order, Order.ship, command, key=f"ship/{shipment_id}")
        say(shop, order, Order.hold, STAFF)
        say(shop, order, Order.release, STAFF, key="release/once")
        assert world.charged(order["buyer"].cart_id) == charged
        assert len(shop.sql("SELECT id FROM shipments WHERE order_id = :id", id=order["id"])) == 1
        status = shop.sql("SELECT status FROM orders WHERE id = :id", id=order["id"])[0].status
        assert status == "on_hold", "somebody's release of yesterday has undone today's hold"


def status_of(timeless, order_id):
    return timeless.sql("SELECT status FROM orders WHERE id = :id", id=order_id)[0].status


def test_the_return_window_closes_after_thirty_days_and_not_before(timeless):
    order = timeless.buyer().buy()
    deliver(timeless, ship(timeless, order))
    timeless.asleep(order_workflow(order["id"]))
    began = timeless.today
    timeless.skip(days=29, hours=23)
    assert timeless.today - began >= timedelta(days=29, hours=23)
    assert status_of(timeless, order["id"]) == "delivered"
    assert timeless.running(order_workflow(order["id"]))
    timeless.skip(hours=1, minutes=1)
    eventually(lambda: status_of(timeless, order["id"]) == "completed")
    eventually(lambda: timeless.ended(order_workflow(order["id"])))
