"""The Temporal development server and its Web UI, with the flags without which a workflow waits six times as long."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import StackError
from deploy.stack.ports import Port, accepts
from deploy.stack.process import Process
from deploy.stack.temporal_binary import get_program, program
from runtime.settings import Settings
from workflows.search_attributes import SEARCH_ATTRIBUTES

if TYPE_CHECKING:
    from temporalio.api.enums.v1 import IndexedValueType

# Measured, each left out in turn: docs/decisions/0015-flags-of-the-development-server.md.
DYNAMIC_CONFIG = {
    # The server has one shard, whose queue is polled 20 times a second: each step of a workflow waits for its slot.
    "history.transferProcessorMaxPollRPS": "20000",
    # Durable timers would fire up to a second late.
    "history.timerProcessorMaxTimeShift": '"50ms"',
    # Four partitions and the SDK's five pollers delay some starts by a third of a second.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}

# The default is a rollback journal: as durable, at two thirds of the speed.
SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "FULL"}
WIRE_NAMES = {"KeywordList": "KEYWORD_LIST"}


def process(settings: Settings) -> Process:
    return Process(
        name="temporal",
        command=command(program(), settings, SEARCH_ATTRIBUTES),
        prepare=lambda: get_program(print),
        ready=lambda: accepts(settings.temporal_port) and serves(settings),
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
    pairs += [("--sqlite-pragma", f"{name}={value}") for name, value in SQLITE_PRAGMAS.items()]
    pairs += [("--search-attribute", f"{name}={kind}") for name, kind in attributes.items()]
    return [str(server), "server", "start-dev", *(word for pair in [*flags.items(), *pairs] for word in pair)]


def serves(settings: Settings) -> bool:
    """Whether the server starts workflows and finds them by our search attributes; it listens before either."""
    from temporalio.service import RPCError, RPCStatusCode

    try:
        asyncio.run(asyncio.wait_for(_register_missing(settings), timeout=5))
    except RPCError as error:
        if error.status in {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED}:
            raise StackError(
                f"Temporal refuses our search attributes ({error})", "see workflows/search_attributes.py"
            ) from None
        return False
    except (RuntimeError, TimeoutError):  # no connection
        return False
    return True


async def _register_missing(settings: Settings) -> None:
    """Registers missing search attributes. The flag works on a fresh file only, and external servers have no flag."""
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest

    from workflows.client import connect

    namespace = settings.temporal_namespace
    client = await connect(settings)
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    missing = {name: kind for name, kind in wire_types().items() if name not in listed.custom_attributes}
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=namespace, search_attributes=missing)
        )


def wire_types() -> "dict[str, IndexedValueType.ValueType]":
    """Our search attributes with the types of the request."""
    from temporalio.api.enums.v1 import IndexedValueType

    return {
        name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{WIRE_NAMES.get(kind, kind.upper())}")
        for name, kind in SEARCH_ATTRIBUTES.items()
    }
