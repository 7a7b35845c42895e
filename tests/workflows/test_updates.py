"""Every update is answered, whatever signals meet the workflow task that carries it."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from models.ids import checkout_workflow, save_payment_method_workflow
from runtime.settings import Settings
from tests.fixtures.cards import Wallet
from tests.fixtures.shop import eventually
from tests.fixtures.updates import UPDATES, WITH_ROUTES
from workers.registry import build
from workflows.failures import DATA_CONVERTER

SERVED = {flow for work in build(Settings(), None).values() for flow in work.workflows}
REGISTERED = {
    f"{flow.__name__}.{name}": update
    for flow in SERVED
    for name, update in workflow._Definition.must_from_class(flow).updates.items()
}


def test_every_update_has_a_case():
    assert set(UPDATES) == set(REGISTERED)


@pytest.mark.parametrize("name", sorted(REGISTERED))
def test_its_acceptance_is_noted(name):
    assert hasattr(REGISTERED[name].fn, "__wrapped__"), "it lacks @recorded"


@pytest.mark.parametrize("name", sorted(UPDATES))
def test_a_plain_client_is_answered(shop, name):
    """As the Temporal UI asks: once."""
    sent = UPDATES[name](shop)
    answer, *others = shop.temporal(lambda client: ask_once(shop, client, sent))
    assert sent.right(answer), answer
    assert len(others) == len(sent.alongside)


@pytest.mark.parametrize("name", WITH_ROUTES)
def test_a_caller_of_the_api_is_answered(shop, name):
    sent = UPDATES[name](shop)
    with ThreadPoolExecutor(1) as pool, step_held(shop, sent.table, sent.row) as held:
        asked = pool.submit(sent.http)
        eventually(lambda: held.is_waited_for() or asked.done())
        shop.temporal(lambda client: signal(client, sent.workflow_id, sent.signal))
        held.let_go()
        answer = asked.result()
    assert answer.status_code == sent.status, answer.text


def test_the_buyer_is_answered_whose_checkout_ends_in_its_first_task(shop, world):
    """There the answer is lost with the task: the API asks again, and gets the same."""
    buyer = shop.buyer(shop.sku(stock=1))
    world.script(buyer.cart_id, {"kind": "delay", "ms": 500})
    with ThreadPoolExecutor(1) as pool:
        click = pool.submit(buyer.checkout)
        (row,) = eventually(lambda: shop.sql("SELECT id FROM checkouts WHERE cart_id = :id", id=buyer.cart_id))
        with step_held(shop, "checkouts", row.id) as held:
            eventually(lambda: held.is_waited_for() or click.done())
            shop.temporal(lambda client: signal(client, checkout_workflow(row.id), "payment_changed"))
            held.let_go()
        answer = click.result()
    assert answer.status_code == 201, answer.text
    assert shop.orders_of(buyer.cart_id) == [answer.json()["order"]["id"]]
    assert world.charged(buyer.cart_id) == buyer.total["amount"]


def test_the_owner_is_answered_whose_card_is_saved_in_the_first_task(shop):
    wallet = Wallet(shop)
    wallet.script({"kind": "delay", "ms": 500})
    with ThreadPoolExecutor(1) as pool:
        wish = pool.submit(wallet.save)
        (row,) = eventually(lambda: shop.sql("SELECT id FROM payment_methods WHERE user_id = :id", id=wallet.person.id))
        with step_held(shop, "payment_methods", row.id) as held:
            eventually(lambda: held.is_waited_for() or wish.done())
            shop.temporal(lambda client: signal(client, save_payment_method_workflow(row.id), "setup_changed"))
            held.let_go()
        answer = wish.result()
    assert answer.status_code == 201, answer.text
    assert [item["id"] for item in wallet.items()] == [row.id]


async def ask_once(shop, client, sent):
    """The update's answer, then those of what was sent alongside. Signals go on until then."""
    plain = await Client.connect(
        shop.settings.temporal,
        namespace=shop.settings.temporal_namespace,
        data_converter=DATA_CONVERTER,
        retry_config=RetryConfig(max_retries=1),
    )
    handle = plain.get_workflow_handle(sent.workflow_id)
    updates = [(sent.update, sent.arguments), *sent.alongside]
    with step_held(shop, sent.table, sent.row) as held:
        asked = [asyncio.create_task(handle.execute_update(name, args=args)) for name, args in updates]
        await asyncio.to_thread(eventually, lambda: held.is_waited_for() or any(task.done() for task in asked))
        await signal(client, sent.workflow_id, sent.signal)
        held.let_go()
        while not all(task.done() for task in asked):
            await signal(client, sent.workflow_id, sent.signal)
            await asyncio.sleep(0.005)
    return [await task for task in asked]


async def signal(client, workflow_id, name):
    try:
        await client.get_workflow_handle(workflow_id).signal(name)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended
            raise


class Held:
    """A row's lock, for as long as somebody's step has to wait."""

    def __init__(self, shop, connection):
        self._shop = shop
        self._connection = connection
        self._pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def is_waited_for(self):
        blocked = "SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))"
        return bool(self._shop.sql(blocked, pid=self._pid))

    def let_go(self):
        self._connection.rollback()


@contextlib.contextmanager
def step_held(shop, table, row):
    key = "order_id" if table == "payment_retries" else "id"
    with shop.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        connection.execute(text(f"SELECT 1 FROM {table} WHERE {key} = :row FOR UPDATE"), {"row": row})
        yield Held(shop, connection)
