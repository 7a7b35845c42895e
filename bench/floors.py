"""The floors, measured in a process of their own: an empty workflow, and the two transactions without Temporal."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from bench.buyer import ADDRESS
from bench.empty import QUEUE, Empty
from bench.helper import Task, serve
from bench.load import closed_loop
from models.checkout.checkouts import BeginCheckout, ConfirmOrder
from models.db.repositories.checkout import carts, checkouts
from models.db.session import Database
from models.ids import digest_of, new_id, order_of
from models.money import Money
from runtime.settings import Settings
from workflows.client import connect

MOST = Money.of(10_000_000, "USD")
_numbers = itertools.count(1)


def empty_workflow(client: Client) -> Task:
    """Starts it as the API starts a checkout."""

    async def once() -> None:
        start = WithStartWorkflowOperation(
            Empty.run,
            id=f"bench-floor/{uuid.uuid4()}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        await client.execute_update_with_start_workflow(Empty.ask, start_workflow_operation=start)

    async def task(command: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        await once()
        yield {"ready": True}
        outcome = await closed_loop([once] * command["count"], command["at_once"])
        yield {"done": True, "seconds": outcome.seconds, "elapsed": outcome.elapsed}

    return task


def two_transactions(database: Database) -> Task:
    """Hold and confirm as plain transactions in PostgreSQL: a crash between them loses the purchase."""

    async def task(command: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        begun = list(_fill_carts(database, command["skus"], command["count"]))
        yield {"ready": True}
        began = time.perf_counter()
        with ThreadPoolExecutor(command["at_once"]) as pool:
            seconds = list(pool.map(lambda begin: _buy(database, begin), begun))
        yield {"done": True, "seconds": seconds, "elapsed": time.perf_counter() - began}

    return task


def _fill_carts(database: Database, skus: list[str], count: int) -> Iterator[BeginCheckout]:
    contact = {"email": "floor@bench.example", "shipping_address": json.loads(ADDRESS)}
    with database.transaction() as connection:
        for number in itertools.islice(_numbers, count):
            cart_id, sku = new_id("cart"), skus[number % len(skus)]
            carts.create_cart(connection, cart_id, currency="USD", country="US", customer_id=None, token_digest=b"-")
            carts.put_item(connection, cart_id, new_id("item"), sku, 1, 0)
            carts.change_cart(connection, cart_id, {**contact, "shipping_option_id": "us-standard"})
            yield _begin(cart_id)


def _begin(cart_id: str) -> BeginCheckout:
    checkout_id, digest = new_id("chk"), digest_of(cart_id).hex()
    return BeginCheckout(
        checkout_id=checkout_id,
        order_id=order_of(checkout_id),
        cart_id=cart_id,
        customer_id=None,
        key_digest=digest,
        fingerprint=digest,
        expected_total=MOST,
        provider="stripe",
        method="pm_card_visa",
        hold_seconds=900,
        payment_action_seconds=1800,
        payment_lookup_seconds=30,
        request_id=new_id("req"),
    )


def _buy(database: Database, begin: BeginCheckout) -> float:
    began = time.perf_counter()
    with database.transaction() as connection:
        held = checkouts.hold(connection, begin)
    confirm = ConfirmOrder(
        checkout_id=begin.checkout_id,
        order_id=begin.order_id,
        payment_id=held.payment_id,
        provider=begin.provider,
        reference=f"pi_{begin.checkout_id}",
    )
    with database.transaction() as connection:
        checkouts.confirm(connection, confirm)
    return time.perf_counter() - began


async def main() -> None:
    settings = Settings()
    database = Database(settings.database, pool_size=8, application="bench-floor")
    client = await connect(settings)
    await serve({"empty-workflow": empty_workflow(client), "no-temporal": two_transactions(database)})
    database.close()


if __name__ == "__main__":
    uvloop.run(main())
