"""The failpoints of every activity, as a worker of ours runs them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy

from runtime import failpoints
from workers.main import worker
from workers.registry import Work

QUEUE = "failpoints"
AT_ONCE = {
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=1)),
}
calls: list[str] = []


@activity.defn
def call_locally() -> None:
    calls.append("call_locally")


@activity.defn
def call_on_server() -> None:
    calls.append("call_on_server")


@workflow.defn
class Calls:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity(call_locally, **AT_ONCE)
        await workflow.execute_activity(call_on_server, **AT_ONCE)


async def run_calls(settings):
    client = await Client.connect(settings.temporal)
    async with AsyncExitStack() as stack:
        work = Work([Calls], [call_locally, call_on_server], slots=2)
        settings = settings.model_copy(update={"env": "development"})  # the sandbox would import this file again
        await stack.enter_async_context(worker(settings, client, QUEUE, work, stack))
        await client.execute_workflow(Calls.run, id="calls", task_queue=QUEUE)


@pytest.fixture
def armed(temporal, tmp_path):
    """Each strikes once, by an error, so that the activity is tried again."""
    calls.clear()
    names = [f"{each}:{place}" for each in ("call_locally", "call_on_server") for place in ("before", "after")]
    spec = ";".join(f"{name}=error@{tmp_path / name}" for name in names)
    failpoints.arm(spec)
    yield temporal.model_copy(update={"failpoints": spec}), [tmp_path / name for name in names]
    failpoints.arm("")


def test_every_activity_has_two_and_runs_between_them(armed):
    settings, markers = armed
    asyncio.run(run_calls(settings))
    assert all(marker.exists() for marker in markers)
    assert calls == ["call_locally"] * 2 + ["call_on_server"] * 2


def test_without_failpoints_the_worker_has_no_interceptor(armed):
    settings, markers = armed
    asyncio.run(run_calls(settings.model_copy(update={"failpoints": ""})))
    assert not any(marker.exists() for marker in markers)
    assert calls == ["call_locally", "call_on_server"]
