"""The Temporal server and its Web UI, with the flags without which it is silently five times slow."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from deploy.stack.ports import Port, accepts
from deploy.stack.process import Process
from deploy.stack.temporal_binary import get_program, program
from models.settings import Settings

# Why each is here: docs of the stack, and measured by tests/deploy/test_temporal_speed.py.
DYNAMIC_CONFIG = {
    # The dev server has one shard, and a shard polls 20 times a second: every dispatch waits for a 50 ms slot.
    "history.transferProcessorMaxPollRPS": "20000",
    "history.timerProcessorMaxPollRPS": "20000",
    "history.visibilityProcessorMaxPollRPS": "20000",
    "history.outboundProcessorMaxPollRPS": "20000",
    # Durable timers would fire up to a second late.
    "history.timerProcessorMaxTimeShift": '"50ms"',
    # Four partitions and the SDK's five pollers stall some starts for two seconds.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    # Priority and fairness keys.
    "matching.enableFairness": "true",
    "system.enableActivityEagerExecution": "true",
    # No artificial limits on one machine.
    "frontend.namespaceRPS": "100000",
    "frontend.rps": "100000",
    "history.rps": "100000",
    "matching.rps": "100000",
}


def process(settings: Settings) -> Process:
    return Process(
        name="temporal",
        command=command(program(), settings, search_attributes()),
        prepare=lambda: get_program(print),
        ready=lambda: accepts(settings.temporal_port) and serves_namespace(settings),
        listens=(
            Port(settings.temporal_port, "HOLDFAST_TEMPORAL_PORT"),
            Port(settings.temporal_ui_port, "HOLDFAST_TEMPORAL_UI_PORT"),
        ),
    )


def command(server: Path, settings: Settings, attributes: Mapping[str, str]) -> list[str]:
    flags = {
        "--ip": "127.0.0.1",
        "--port": str(settings.temporal_port),
        "--ui-port": str(settings.temporal_ui_port),
        "--namespace": settings.temporal_namespace,
        "--db-filename": str(settings.data_dir.resolve() / "temporal.db"),
        "--log-level": "warn",
    }
    pairs = [("--dynamic-config-value", f"{key}={value}") for key, value in DYNAMIC_CONFIG.items()]
    pairs += [("--search-attribute", f"{name}={kind}") for name, kind in attributes.items()]
    return [str(server), "server", "start-dev", *(word for pair in [*flags.items(), *pairs] for word in pair)]


def search_attributes() -> dict[str, str]:
    """What workflows may be found by, as the models name it."""
    from models.search_attributes import SEARCH_ATTRIBUTES

    return dict(SEARCH_ATTRIBUTES)


def register_search_attributes(settings: Settings) -> None:
    """For a server that is not ours: add what it does not know yet."""
    asyncio.run(_register(settings))


async def _register(settings: Settings) -> None:
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
    from temporalio.client import Client

    client = await Client.connect(settings.temporal, namespace=settings.temporal_namespace)
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=settings.temporal_namespace)
    )
    missing = {
        name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{_snake(kind)}")
        for name, kind in search_attributes().items()
        if name not in known.custom_attributes
    }
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=settings.temporal_namespace, search_attributes=missing)
        )


def _snake(kind: str) -> str:
    return {"KeywordList": "KEYWORD_LIST"}.get(kind, kind.upper())


def serves_namespace(settings: Settings) -> bool:
    """It listens a moment before the namespace can take workflows."""
    from temporalio.service import RPCError

    with contextlib.suppress(RPCError, RuntimeError, TimeoutError):
        asyncio.run(asyncio.wait_for(_describe_namespace(settings), timeout=5))
        return True
    return False


async def _describe_namespace(settings: Settings) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
    from temporalio.client import Client

    client = await Client.connect(settings.temporal, namespace=settings.temporal_namespace)
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=settings.temporal_namespace))
