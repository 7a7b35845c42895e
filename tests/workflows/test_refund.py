"""The Refund workflow on a real Temporal: what operators see of it and type, and an execution that ends early."""

from __future__ import annotations

from temporalio.client import WorkflowExecutionStatus

from models.db.session import Database
from models.delivery.tasks import TaskOutcome, TaskResolved
from models.ids import new_id, refund_workflow
from models.payments.refunds import RefundRef
from models.states import RefundStatus
from tests.fixtures.executions import details
from tests.fixtures.parcels import ship
from tests.fixtures.refunds import FAILS, WAITS, at_the_provider, finished, given, request, resolve
from tests.fixtures.shop import VISA, eventually
from workers.orphans import Sweeper
from workflows import queues
from workflows.refund import DETAILS, Refund


def shipped(shop, method=VISA):
    """A buyer, and the order whose only parcel has left."""
    buyer = shop.buyer(quantity=2)
    order = buyer.buy(method)
    ship(shop, order)
    return buyer, order


def result(shop, refund):
    async def ask(client):
        return await client.get_workflow_handle_for(Refund.run, refund_workflow(refund["id"])).result()

    return shop.temporal(ask)


class TestWhatOperatorsSee:
    def test_one_on_its_way_and_the_result_is_how_it_ended(self, shop, world):
        _, order = shipped(shop, WAITS)
        refund = request(shop, order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        amount = f"({refund['amount']['amount']} USD)"
        eventually(lambda: details(shop, refund_workflow(refund["id"])) == f"{DETAILS[RefundStatus.PENDING]} {amount}")
        world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
        assert result(shop, refund) is RefundStatus.SUCCEEDED
        assert details(shop, refund_workflow(refund["id"])) == f"{DETAILS[RefundStatus.SUCCEEDED]} {amount}"

    def test_one_that_failed_waits_for_the_resolution_of_its_task(self, shop, world):
        buyer, order = shipped(shop, FAILS)
        refund = request(shop, order)
        workflow_id = refund_workflow(refund["id"])
        eventually(lambda: shop.running(workflow_id) and "resolve_task" in details(shop, workflow_id))
        assert shop.running(workflow_id)
        resolve(shop, refund, "done")
        assert result(shop, refund) is RefundStatus.FAILED
        assert given(world, buyer) == 0
        (task,) = shop.sql("SELECT outcome, closed_at FROM tasks WHERE subject = :s", s=refund["id"])
        assert (task.outcome, task.closed_at is not None) == ("done", True)


class TestTheSignal:
    def test_that_names_another_task_changes_nothing(self, shop):
        _, order = shipped(shop, FAILS)
        refund = request(shop, order)
        workflow_id = refund_workflow(refund["id"])
        eventually(lambda: shop.running(workflow_id) and "resolve_task" in details(shop, workflow_id))

        async def signal(client):
            word = TaskResolved(outcome=TaskOutcome.DONE, task_id=new_id("task"))
            await client.get_workflow_handle(workflow_id).signal(Refund.resolve_task, word)

        shop.temporal(signal)
        resolve(shop, refund, "done")
        assert result(shop, refund) is RefundStatus.FAILED
        assert shop.tasks(refund["id"]) == ["refund-failed"]


def test_without_a_refund_there_is_nothing_to_do(shop):
    refund_id = new_id("rfd")

    async def run(client):
        return await client.execute_workflow(
            Refund.run, RefundRef(refund_id=refund_id), id=refund_workflow(refund_id), task_queue=queues.ORDERS
        )

    assert shop.temporal(run) is None


def test_a_pending_refund_is_polled_where_no_webhook_comes(timeless):
    """At growing intervals: five times in two hours."""
    with timeless.world.webhooks(mode="drop"):
        _, order = shipped(timeless, WAITS)
        refund = request(timeless, order)
        (made,) = eventually(lambda: at_the_provider(timeless.world, refund["id"]))
        timeless.asleep(refund_workflow(refund["id"]))
        timeless.skip(hours=2, minutes=15)
        timeless.asleep(refund_workflow(refund["id"]))
        calls = timeless.world.get("/calls", service="stripe", path=f"/v1/refunds/{made['id']}")
        assert len(calls) == 5
        timeless.world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
        timeless.skip(hours=6)
        assert result(timeless, refund) is RefundStatus.SUCCEEDED
        assert finished(timeless, order)["payment_status"] == "refunded"


class TestAnExecutionThatEnds:
    def test_a_process_that_an_operator_has_ended_begins_anew_with_the_next_word(self, shop, world):
        _, order = shipped(shop, WAITS)
        refund = request(shop, order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))

        async def terminate(client):
            await client.get_workflow_handle(refund_workflow(refund["id"])).terminate()

        shop.temporal(terminate)
        world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
        assert finished(shop, order)["payment_status"] == "refunded"
        assert len(at_the_provider(world, refund["id"])) == 1

    def test_one_whose_history_grows_long_goes_on_in_a_new_execution(self, shop, world):
        with world.webhooks(mode="drop"):
            _, order = shipped(shop, WAITS)
            refund = request(shop, order)
            (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
            eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))
            workflow_id = refund_workflow(refund["id"])

            async def begin_anew(client):
                await client.get_workflow_handle(workflow_id).terminate()
                ref = RefundRef(refund_id=refund["id"], history_limit=10)
                begun = await client.start_workflow(Refund.run, ref, id=workflow_id, task_queue=queues.ORDERS)
                return begun.result_run_id

            async def continued(client):
                found = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
                return found.status is WorkflowExecutionStatus.CONTINUED_AS_NEW

            run_id = shop.temporal(begin_anew)
            eventually(lambda: shop.temporal(continued))
            world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
            assert finished(shop, order)["payment_status"] == "refunded"
            eventually(lambda: shop.ended(workflow_id))
        assert len(at_the_provider(world, refund["id"])) == 1

    def test_and_the_sweeper_finds_it_where_no_word_comes(self, shop, world):
        database = Database(shop.settings.database, pool_size=1)
        with world.webhooks(mode="drop"):
            _, order = shipped(shop, WAITS)
            refund = request(shop, order)
            (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
            eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))

            async def terminate(client):
                await client.get_workflow_handle(refund_workflow(refund["id"])).terminate()
                world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
                return await Sweeper(shop.settings, database, client, margin=0.0).round()

            assert refund["id"] in shop.temporal(terminate)
            assert finished(shop, order)["payment_status"] == "refunded"
        database.close()
