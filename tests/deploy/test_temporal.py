"""The Temporal server has the flags that make it fast, knows our search attributes and survives kill -9."""

import asyncio
import os
import statistics
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
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


@workflow.defn
class Empty:
    @workflow.run
    async def run(self) -> None:
        return None


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


async def measure(address: str) -> tuple[float, float]:
    """The median of one after the other, and the longest of 400 at 8 at once; in seconds."""
    client = await Client.connect(address)

    async def one() -> float:
        began = time.perf_counter()
        await client.execute_workflow(Empty.run, id=f"empty/{uuid.uuid4()}", task_queue=QUEUE)
        return time.perf_counter() - began

    worker = Worker(client, task_queue=QUEUE, workflows=[Empty], workflow_runner=UnsandboxedWorkflowRunner())
    async with worker:
        for _ in range(10):
            await one()
        alone = [await one() for _ in range(40)]

        async def several(count: int) -> list[float]:
            return [await one() for _ in range(count)]

        together = await asyncio.gather(*(several(50) for _ in range(8)))
    return statistics.median(alone), max(max(times) for times in together)


def test_the_flags_are_in_effect(temporal: Settings) -> None:
    """p50 under 40 ms alone and nothing over 1.5 s at 8: the best of three, wider where others load the machine."""
    measured = []
    for _ in range(3):
        slack = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        p50, longest = asyncio.run(measure(temporal.temporal))
        measured.append((round(p50, 3), round(longest, 3), round(slack, 1)))
        if p50 < 0.040 * slack and longest < 1.5 * slack:
            return
    raise AssertionError(f"p50 at 1, longest at 8 (seconds), slack: {measured}")


def test_search_attributes_are_registered(temporal: Settings) -> None:
    async def look() -> None:
        known = await known_attributes(await Client.connect(temporal.temporal))
        assert known.keys() >= SEARCH_ATTRIBUTES.keys()

    asyncio.run(look())


def test_kill_9_keeps_workflows_and_takes_new_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, ui_port = free_ports(2)
    settings = Settings.model_validate({"data_dir": tmp_path, "temporal_port": port, "temporal_ui_port": ui_port})
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
