"""The Temporal server has the flags that make it fast, knows our search attributes and survives kill -9."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from deploy.errors import StackError
from deploy.stack import temporal as engine
from deploy.stack.ports import free_ports
from deploy.stack.supervisor import Supervisor
from runtime.settings import Settings
from workflows.search_attributes import SEARCH_ATTRIBUTES

QUEUE = "speed"
TIMER_SECONDS = 0.3


@activity.defn
async def nothing() -> None:
    """A step that takes no time."""


@workflow.defn
class Four:
    @workflow.run
    async def run(self) -> None:
        for _ in range(4):
            await workflow.execute_activity(nothing, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn
class Timer:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(TIMER_SECONDS)


@workflow.defn
class Waiting:
    """Until told: shows whether it still exists after its server was killed."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.told)
        return "kept"

    @workflow.signal
    def tell(self) -> None:
        self.told = True


async def known_attributes(client: Client) -> dict[str, int]:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return dict(listed.custom_attributes)


@asynccontextmanager
async def serving(address: str) -> AsyncIterator[Callable[[type[Four] | type[Timer]], Awaitable[float]]]:
    """Runs a workflow on that server; returns the seconds."""
    client = await Client.connect(address)

    async def run(step: type[Four] | type[Timer]) -> float:
        began = time.perf_counter()
        await client.execute_workflow(step.run, id=f"speed/{uuid.uuid4()}", task_queue=QUEUE)
        return time.perf_counter() - began

    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Four, Timer],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield run


async def shortest(address: str, step: type[Four] | type[Timer], seconds: float, warm_up: int = 0) -> float:
    """The shortest of a hundred runs in turn after those that warm up; fewer if one took less than `seconds`."""
    async with serving(address) as run:
        for _ in range(warm_up):
            await run(step)
        took = [await run(step)]
        while len(took) < 100 and min(took) > seconds:
            took.append(await run(step))
    return min(took)


def test_steps_do_not_wait_for_a_slot(temporal: Settings) -> None:
    """Without the flag each of the five dispatches waits for one of 20 slots a second, once those saved up are used."""
    assert asyncio.run(shortest(temporal.temporal, Four, 0.200, warm_up=10)) < 0.200


def test_timers_fire_when_they_are_due(temporal: Settings) -> None:
    """Without the flag a timer fires with the others of its second, never at once."""
    within = TIMER_SECONDS + 0.500
    assert asyncio.run(shortest(temporal.temporal, Timer, within)) < within


def test_search_attributes_are_registered(temporal: Settings) -> None:
    async def look() -> None:
        known = await known_attributes(await Client.connect(temporal.temporal))
        assert known.keys() >= SEARCH_ATTRIBUTES.keys()

    asyncio.run(look())


def test_kill_9_keeps_workflows_and_takes_new_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _another(tmp_path)
    supervisor = Supervisor(tmp_path / "logs", restarts=None)
    try:
        supervisor.start(engine.process(settings))
        asyncio.run(_start_waiting(settings))
        supervisor.kill("temporal")
        monkeypatch.setitem(SEARCH_ATTRIBUTES, "Later", "KeywordList")
        supervisor.start(engine.process(settings))
        asyncio.run(_finish_waiting(settings))
    finally:
        supervisor.close()


def test_an_attribute_that_the_server_refuses_is_told(temporal: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(11):  # the server takes ten keywords
        monkeypatch.setitem(SEARCH_ATTRIBUTES, f"Extra{number}", "Keyword")
    with pytest.raises(StackError, match="more than 10"):
        engine.serves(temporal)


def _another(folder: Path) -> Settings:
    """The settings of a server beside the session's."""
    port, ui_port = free_ports(2)
    return Settings.model_validate({"data_dir": folder, "temporal_port": port, "temporal_ui_port": ui_port})


async def _start_waiting(settings: Settings) -> None:
    client = await Client.connect(settings.temporal)
    await client.start_workflow(Waiting.run, id="waiting", task_queue=QUEUE)


async def _finish_waiting(settings: Settings) -> None:
    client = await Client.connect(settings.temporal)
    assert "Later" in await known_attributes(client)
    worker = Worker(client, task_queue=QUEUE, workflows=[Waiting], workflow_runner=UnsandboxedWorkflowRunner())
    async with worker:
        handle = client.get_workflow_handle("waiting", result_type=str)
        await handle.signal(Waiting.tell, rpc_timeout=timedelta(seconds=5))
        assert await handle.result() == "kept"
