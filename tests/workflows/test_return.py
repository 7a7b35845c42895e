"""The process of a return: its time, what operators may type, and that it outlives its execution."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from models.accounts.access import Role
from models.ids import order_workflow, return_workflow
from models.orders.returns import ReturnRef
from models.states import ReturnStatus
from tests.fixtures.executions import details
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import eventually
from workflows import queues
from workflows.return_ import Return


def announce(shop, buyer, order, quantity=1):
    lines = [{"line_id": line["id"], "quantity": quantity} for line in order["lines"]]
    answer = buyer.call("POST", f"/v1/orders/{order['id']}/returns", {"lines": lines})
    assert answer.status_code == 201, answer.text
    eventually(lambda: known(shop, answer.json()["id"]))
    return answer.json()["id"]


def known(shop, return_id):
    """Its process has been started by the relay."""
    try:
        return shop.running(return_workflow(return_id))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False


def receive(shop, return_id):
    path = f"/v1/fulfilment/returns/{return_id}/receive"
    return shop.post(path, {}, shop.bearer(Role.WAREHOUSE, "usr_warehouse"))


def status_of(shop, order_id):
    return shop.sql("SELECT status FROM orders WHERE id = :id", id=order_id)[0].status


def state_of(shop, return_id):
    return shop.sql("SELECT state FROM returns WHERE id = :id", id=return_id)[0].state


def update(shop, return_id, name, *arguments):
    async def ask(client):
        return await client.get_workflow_handle(return_workflow(return_id)).execute_update(name, *arguments)

    return shop.temporal(ask)


@pytest.fixture
def shipped(shop):
    buyer = shop.buyer(shop.sku(), 2)
    order = buyer.buy()
    ship(shop, order)
    return buyer, order


@pytest.fixture
def delivered(timeless):
    buyer = timeless.buyer(timeless.sku(), 2)
    order = buyer.buy()
    deliver(timeless, ship(timeless, order))
    timeless.asleep(order_workflow(order["id"]))
    return buyer, order


class TestTime:
    def test_what_never_comes_expires_after_thirty_days_and_is_taken_later_all_the_same(self, timeless, delivered):
        buyer, order = delivered
        return_id = announce(timeless, buyer, order)
        timeless.asleep(return_workflow(return_id))
        timeless.skip(days=29, hours=23)
        assert (state_of(timeless, return_id), status_of(timeless, order["id"])) == ("requested", "return_requested")
        timeless.skip(hours=2)
        eventually(lambda: state_of(timeless, return_id) == "expired")
        eventually(lambda: status_of(timeless, order["id"]) == "completed")
        eventually(lambda: timeless.ended(return_workflow(return_id)))
        eventually(lambda: [m for m in timeless.world.mail(buyer.email) if "no longer wait" in m["text"]])
        answer = receive(timeless, return_id)
        assert answer.status_code == 200, answer.text
        assert answer.json()["refund"] is not None
        assert (answer.json()["order"]["status"], answer.json()["order"]["lines"][0]["returned"]) == ("completed", 1)

    def test_what_is_on_its_way_back_keeps_the_order_open(self, timeless, delivered):
        buyer, order = delivered
        timeless.skip(days=10)
        return_id = announce(timeless, buyer, order)
        timeless.asleep(return_workflow(return_id))
        began = timeless.today
        timeless.skip(days=21)
        assert timeless.today - began >= timedelta(days=21)
        assert status_of(timeless, order["id"]) == "return_requested"
        assert timeless.running(order_workflow(order["id"]))
        assert receive(timeless, return_id).status_code == 200
        eventually(lambda: status_of(timeless, order["id"]) == "completed")  # one unit stays with the buyer
        eventually(lambda: timeless.ended(order_workflow(order["id"])))


class TestInTheUi:
    """What a person types there: a name and JSON."""

    def test_the_details_say_what_it_waits_for(self, shop, shipped):
        return_id = announce(shop, *shipped)
        assert "expected until 20" in details(shop, return_workflow(return_id))

    @pytest.mark.parametrize("typed", [({},), ()])
    def test_receive(self, shop, shipped, typed):
        buyer, order = shipped
        return_id = announce(shop, buyer, order, 2)
        assert update(shop, return_id, "receive", *typed) == "received"
        now = buyer.call("GET", f"/v1/orders/{order['id']}").json()
        assert (now["status"], now["lines"][0]["returned"], len(now["refunds"])) == ("returned", 2, 1)
        sku = order["lines"][0]["sku"]
        assert shop.stock(sku) == (10, 0)
        actors = shop.sql("SELECT actor FROM stock_adjustments WHERE sku = :sku AND reason LIKE 'return%'", sku=sku)
        assert [row.actor for row in actors] == ["staff:"]

    def test_receive_a_part_that_can_not_be_sold_again(self, shop, shipped):
        buyer, order = shipped
        return_id = announce(shop, buyer, order, 2)
        lines = [{"line_id": order["lines"][0]["id"], "quantity": 1}]
        update(shop, return_id, "receive", {"lines": lines, "restock": False})
        assert shop.stock(order["lines"][0]["sku"]) == (8, 0)
        now = buyer.call("GET", f"/v1/orders/{order['id']}").json()
        assert (now["status"], now["lines"][0]["returned"]) == ("shipped", 1)

    def test_refuse(self, shop, shipped):
        return_id = announce(shop, *shipped)
        assert update(shop, return_id, "refuse", {}) == "refused"
        eventually(lambda: shop.ended(return_workflow(return_id)))
        assert state_of(shop, return_id) == "refused"

    @pytest.mark.parametrize(
        "typed",
        [{"lines": []}, {"lines": [{"line_id": "line_none", "quantity": 1}]}, {"lines": [{"line_id": 1}]}, [1], "all"],
    )
    def test_a_slip_of_the_pen_is_refused_and_changes_nothing(self, shop, shipped, typed):
        return_id = announce(shop, *shipped)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            update(shop, return_id, "receive", typed)
        assert isinstance(refused.value.cause, ApplicationError)
        assert state_of(shop, return_id) == "requested"
        assert update(shop, return_id, "receive", {}) == "received"


class TestAProcessThatWasEnded:
    @pytest.fixture
    def begin_again(self, shop):
        def act(return_id):
            async def start(client):
                return await client.execute_workflow(
                    Return.run,
                    ReturnRef(return_id=return_id),
                    id=return_workflow(return_id),
                    task_queue=queues.ORDERS,
                )

            return shop.temporal(start)

        return act

    def terminate(self, shop, return_id):
        async def end(client):
            await client.get_workflow_handle(return_workflow(return_id)).terminate("by hand")

        shop.temporal(end)
        eventually(lambda: shop.ended(return_workflow(return_id)))

    def test_goes_on_from_the_database(self, shop, shipped, begin_again):
        return_id = announce(shop, *shipped)
        self.terminate(shop, return_id)
        assert receive(shop, return_id).status_code == 200
        eventually(lambda: state_of(shop, return_id) == "refunded")
        assert begin_again(return_id) is ReturnStatus.REFUNDED

    def test_expires_what_came_to_its_time_meanwhile(self, shop, shipped, begin_again):
        return_id = announce(shop, *shipped)
        self.terminate(shop, return_id)
        shop.sql("UPDATE returns SET expires_at = now() WHERE id = :id", id=return_id)
        assert begin_again(return_id) is ReturnStatus.EXPIRED
        assert status_of(shop, shipped[1]["id"]) == "shipped"
