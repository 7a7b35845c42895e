"""From one build of the workers to the next, back and forth again, under buyers: nobody notices, nothing breaks."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import Client
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.proof.crashtest.stack import PrivateStack
from deploy.proof.crashtest.wait_until_idle import wait_until_idle
from deploy.proof.invariants.check import check_all
from deploy.proof.invariants.facts import gather
from deploy.stack import plan
from models.ids import checkout_workflow, order_workflow
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import THREE_D_SECURE, Buyer, Shop

pytestmark = pytest.mark.crash

FIRST, SECOND = "first", "second"
ORDERS = 200
AT_THE_BANK = 3  # buyers there whenever the build changes
TIMES = {"return_window_seconds": 0.5, "mail_unknown_seconds": 6.0, "worker_build_id": FIRST}


class Rolling(Shop):
    """A shop whose API is a process of its own, with workers of two builds, and a line of buyers."""

    def __init__(self, stack: PrivateStack, http: httpx.Client) -> None:
        super().__init__(stack.settings, stack.supervisor, http)
        self.second = self.settings.model_copy(
            update={"worker_build_id": SECOND, "worker_metrics_port": self.settings.worker_metrics_port + 1}
        )
        self.pool = ThreadPoolExecutor(4)
        self.placed: list[Future[dict[str, Any]]] = []

    def api(self, **changes: Any) -> str:
        assert not changes
        return self.settings.api_url

    def start_second(self) -> None:
        process = plan.holdfast(self.second)[0]
        command = (sys.executable, "-m", "tests.fixtures.second_build")
        self.supervisor.start(replace(process, name="workers-second", command=command))

    def command(self, *words: str) -> str:
        """`holdfast deploy …`, and what it printed."""
        done = CliRunner().invoke(app, ["deploy", *words], env=plan.environment(self.settings))
        assert done.exit_code == 0, done.output
        return done.output

    def come(self, buyers: int) -> None:
        """They come at once, four at a time, and go on while the caller does something else."""
        self.placed += [self.pool.submit(lambda: self.buyer().buy()) for _ in range(buyers)]

    def all_placed(self) -> list[dict[str, Any]]:
        return [order.result() for order in self.placed]

    def send(self, orders: list[dict[str, Any]]) -> None:
        """All the way to the buyers."""
        list(self.pool.map(lambda order: deliver(self, ship(self, order), seen=("delivered",)), orders))

    def go_to_the_bank(self) -> list[tuple[Buyer, str]]:
        buyers = [self.buyer() for _ in range(AT_THE_BANK)]
        return [(buyer, buyer.checkout(THREE_D_SECURE).json()["checkout_id"]) for buyer in buyers]

    def come_back(self, visits: list[tuple[Buyer, str]]) -> None:
        for buyer, checkout_id in visits:
            self.world.authenticate(buyer.cart_id)
            order = buyer.ended(checkout_id)["order"]
            done: Future[dict[str, Any]] = Future()
            done.set_result(self.get(f"/v1/orders/{order['id']}", buyer.headers).json())
            self.placed.append(done)

    def builds_of(self, workflow_id: str) -> list[str]:
        """Who completed its tasks, in order; none may have failed."""
        return list(self.temporal(lambda client: _builds_of(client, workflow_id)))

    def failed_tasks(self) -> list[str]:
        """Of both builds, by what their SDK counts: a second failure in a row is in no history."""
        found = []
        for settings in (self.settings, self.second):
            with urllib.request.urlopen(f"http://127.0.0.1:{settings.worker_metrics_port}/metrics") as answer:
                lines = answer.read().decode().splitlines()
            found += [line for line in lines if line.startswith("temporal_workflow_task_execution_failed")]
        return found


async def _builds_of(client: Client, workflow_id: str) -> list[str]:
    builds = []
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.HasField("workflow_task_failed_event_attributes"):
            cause = event.workflow_task_failed_event_attributes.cause
            # The server's own way to have a task done again with what came in meanwhile.
            assert cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND, (workflow_id, event)
        if event.HasField("workflow_task_completed_event_attributes"):
            builds.append(event.workflow_task_completed_event_attributes.worker_version.build_id)
    return builds


@pytest.fixture(scope="module")
def rolling() -> Iterator[Rolling]:
    with PrivateStack(TIMES) as stack, httpx.Client(timeout=30) as http:
        shop = Rolling(stack, http)
        yield shop
        shop.pool.shutdown()
        shop.close()


@dataclass(frozen=True)
class Story:
    """What came of it: who took each order's steps in turn, and each checkout's that was at the bank meanwhile."""

    told: dict[str, str]  # by the commands
    orders: dict[str, list[str]]
    begun_on_first: list[list[str]]
    begun_on_second: list[list[str]]
    failed_tasks: list[str]


@pytest.fixture(scope="module")
def story(rolling: Rolling) -> Story:
    """First to second by a ramp, back to first, forward again; buyers come at every step, and parcels leave."""
    told = {}
    share = ORDERS // 5
    rolling.command("current", FIRST)
    begun_on_first = rolling.go_to_the_bank()
    rolling.come(share)
    rolling.start_second()
    rolling.command("ramp", SECOND, "30")
    rolling.come(share)
    rolling.command("current", SECOND)
    rolling.come_back(begun_on_first)
    begun_on_second = rolling.go_to_the_bank()
    early = rolling.all_placed()[::4]
    rolling.come(share)
    rolling.send(early)  # begun by either build, shipped by the second
    rolling.come(share)
    told["back"] = rolling.command("back", FIRST)
    told["status"] = rolling.command("status")
    rolling.come_back(begun_on_second)
    rolling.come(share)
    rest = [order for order in rolling.all_placed() if order not in early]
    rolling.send(rest[::3])  # by the build that each belongs to
    rolling.command("current", SECOND)
    told["release"] = rolling.command("release", SECOND)
    rolling.send([order for number, order in enumerate(rest) if number % 3])
    assert wait_until_idle(rolling.settings, 30) is None
    return Story(
        told,
        {order["id"]: rolling.builds_of(order_workflow(order["id"])) for order in rolling.all_placed()},
        [rolling.builds_of(checkout_workflow(checkout_id)) for _, checkout_id in begun_on_first],
        [rolling.builds_of(checkout_workflow(checkout_id)) for _, checkout_id in begun_on_second],
        rolling.failed_tasks(),
    )


def test_every_order_arrives_and_everything_agrees(rolling: Rolling, story: Story) -> None:
    assert len(story.orders) == ORDERS + 2 * AT_THE_BANK
    assert rolling.sql("SELECT DISTINCT status FROM orders") == [("completed",)]
    assert check_all(gather(rolling.settings)) == []


def test_no_task_of_any_process_failed(story: Story) -> None:
    assert story.failed_tasks == []


def test_a_checkout_ends_on_the_build_that_began_it(story: Story) -> None:
    assert {build for builds in story.begun_on_first for build in builds} == {FIRST}
    assert {build for builds in story.begun_on_second for build in builds} == {SECOND}


def test_an_order_moves_to_the_newer_build_and_never_back(story: Story) -> None:
    """To the one that has recorded what the older can't replay."""
    journeys = [tuple(dict.fromkeys(builds)) for builds in story.orders.values()]
    assert Counter(journeys).keys() == {(FIRST,), (SECOND,), (FIRST, SECOND)}
    for builds in story.orders.values():
        assert builds == sorted(builds), "it went back"


def test_the_commands_tell_how_many_stay(story: Story) -> None:
    held = int(re.search(r"(\d+) executions stay", story.told["back"])[1])
    released = int(re.search(r"(\d+) executions may leave", story.told["release"])[1])
    assert 0 < released < held
    assert re.search(rf"{FIRST} +current +\d+", story.told["status"])
    assert re.search(rf"{SECOND} +draining +\d+", story.told["status"])
