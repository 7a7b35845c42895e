"""An order whose history grows long goes on in a new execution, and whoever speaks to it meanwhile is answered."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy

from models.accounts.access import Role
from models.ids import derived_id, order_workflow
from models.orders.commands import By
from models.orders.fulfilment import CreateShipment, FulfilOrder
from models.orders.orders import Actor, ShippedLine
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import at_once, eventually, new_key
from workflows import queues
from workflows.order import Order

LIMIT = 40  # events: a few updates' worth
STAFF = By(actor=Actor(type="staff", id="usr_staff"))


@pytest.fixture
def order(shop, world):
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


def runs(shop, order):
    """Every execution of it, the oldest first: run id and how it ended."""

    async def ask(client):
        query = f'WorkflowId = "{order_workflow(order["id"])}"'
        found = [(each.start_time, each.run_id, each.status) async for each in client.list_workflows(query)]
        return [(run_id, status) for _, run_id, status in sorted(found, key=lambda each: each[0])]

    return shop.temporal(ask)


def continued(shop, order):
    return [run_id for run_id, status in runs(shop, order) if status is WorkflowExecutionStatus.CONTINUED_AS_NEW]


def say(shop, order, update, *arguments, key=None):
    """As a person in the Temporal UI would, with an update id of one's own."""
    key = key or new_key()

    async def ask(client):
        handle = client.get_workflow_handle(order_workflow(order["id"]))
        return await handle.execute_update(update, *arguments, id=key)

    return shop.temporal(ask)


def grow(shop, order):
    """Until the present execution has been left behind."""
    before = len(continued(shop, order))
    for _ in range(LIMIT):
        say(shop, order, Order.hold, STAFF)
        say(shop, order, Order.release, STAFF)
        if len(continued(shop, order)) > before:
            return
    raise AssertionError("its history only grows")


def test_it_goes_on_where_it_was(shop, world, order):
    parcel = ship(shop, order, 2)
    grow(shop, order)
    deliver(shop, parcel)
    grow(shop, order)
    deliver(shop, ship(shop, order, 3))
    ended = eventually(lambda: [each for each in runs(shop, order) if each[1] is WorkflowExecutionStatus.COMPLETED])
    assert len(ended) == 1
    assert shop.sql("SELECT status FROM orders WHERE id = :id", id=order["id"])[0].status == "completed"
    assert len([mail for mail in world.mail(order["buyer"].email) if mail["subject"].endswith(order["number"])]) == 1


def test_updates_that_race_it_are_all_answered(shop, world, order):
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
    assert [row.n for row in shop.sql("SELECT count(*) AS n FROM shipments WHERE order_id = :id", id=order["id"])] == [
        5
    ]


def test_an_update_that_comes_again_to_the_next_execution_does_no_harm(shop, world, order):
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
