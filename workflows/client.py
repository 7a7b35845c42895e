"""Calls of Temporal's client: start, signal, describe. The API and the workers share them.

They are apart from `starts`, which is data: no workflow imports either.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, RetryConfig, RPCError, RPCStatusCode, TLSConfig

from runtime.settings import Settings
from workflows.failures import DATA_CONVERTER
from workflows.starts import TASK_TIMEOUT, Input, Result, Start, W

RETRIES = timedelta(seconds=10)  # of one call, as the SDK has it


async def connect(
    settings: Settings, *, runtime: Runtime | None = None, lazy: bool = False, patience: timedelta = RETRIES
) -> Client:
    """`lazy`: connects with the first call. `patience`: for how long a call is retried. Raises RuntimeError when the
    server is not reached, or does not show the expected certificate.
    """
    return await Client.connect(
        settings.temporal,
        namespace=settings.temporal_namespace,
        tls=_tls(settings),
        api_key=settings.temporal_api_key.get_secret_value() or None,
        data_converter=DATA_CONVERTER,
        interceptors=[TracingInterceptor()],
        grpc_compression=GrpcCompression.NONE,
        retry_config=RetryConfig(max_elapsed_time_millis=int(patience.total_seconds() * 1000)),
        runtime=runtime,
        lazy=lazy,
    )


def _tls(settings: Settings) -> TLSConfig | bool:
    if not settings.temporal_tls:
        return False
    return TLSConfig(
        server_root_ca_cert=_content(settings.temporal_tls_ca),
        domain=settings.temporal_tls_name or None,
        client_cert=_content(settings.temporal_tls_cert),
        client_private_key=_content(settings.temporal_tls_key),
    )


def _content(file: Path | None) -> bytes | None:
    return file.read_bytes() if file else None


async def start(client: Client, process: Start[W, Input, Result], *, signal: Callable[[W], None] | None = None) -> bool:
    """Idempotent: a running execution only gets the signal. False when the reuse policy forbids another execution."""
    try:
        await client.start_workflow(
            process.run,
            process.input,
            id=process.id,
            task_queue=process.queue,
            task_timeout=TASK_TIMEOUT,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=process.reuse,
            search_attributes=process.search_attributes,
            static_summary=process.summary,
            start_signal=signal.__name__ if signal else None,
            request_eager_start=process.eager,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def with_start(process: Start[W, Input, Result]) -> WithStartWorkflowOperation[W, Result]:
    """The start operation of an update-with-start: the execution is started unless it runs."""
    return WithStartWorkflowOperation(
        process.run,
        process.input,
        id=process.id,
        task_queue=process.queue,
        task_timeout=TASK_TIMEOUT,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=process.reuse,
        search_attributes=process.search_attributes,
        static_summary=process.summary,
    )


def scheduled(process: Start[W, Input, Result]) -> ScheduleActionStartWorkflow:
    """The action of a schedule, whose overlap policy replaces the reuse policy."""
    return ScheduleActionStartWorkflow(
        process.run,
        process.input,
        id=process.id,
        task_queue=process.queue,
        task_timeout=TASK_TIMEOUT,
        typed_search_attributes=process.search_attributes,
        static_summary=process.summary,
    )


async def signal(client: Client, workflow_id: str, name: str | Callable[[W], None], *arguments: object) -> bool:
    """False when there is no such execution, or it has ended. A signal with arguments goes by its name."""
    handle: WorkflowHandle[W, object] = client.get_workflow_handle(workflow_id)
    try:
        await handle.signal(name if isinstance(name, str) else name.__name__, args=arguments)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def is_running(client: Client, workflow_id: str) -> bool:
    handle: WorkflowHandle[object, object] = client.get_workflow_handle(workflow_id)
    try:
        return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
