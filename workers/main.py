"""A worker process: registers the workflows and activities of its queues, and runs until a signal stops it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import structlog
import uvloop
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from models.db.session import Database
from runtime import failpoints, logs
from runtime import gc as gc_tuning
from runtime.settings import Environment, Settings
from workers import schedules
from workers.interceptors import Failpoints
from workers.orphans import Sweeper
from workers.outbox.consumers import Context, consumers_of, file_of
from workers.outbox.metrics import Metrics, Monitor
from workers.outbox.relay import Relay
from workers.outbox.wake_ups import WakeUps
from workers.registry import Work, build
from workers.retention import Retention
from workers.rounds import Rounds
from workflows import client as temporal
from workflows import queues

log = structlog.get_logger()

UNVERSIONED: Final = "unversioned"  # what histories name as the build of a worker without HOLDFAST_WORKER_BUILD_ID


def run(settings: Settings, only: Iterable[str] = ()) -> None:
    """Blocks until SIGTERM or SIGINT, then finishes the running tasks. Empty `only`: all queues."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, tuple(only) or queues.ALL))


async def _run(settings: Settings, names: tuple[str, ...]) -> None:
    logs.configure(settings.log_level)
    failpoints.arm(settings.failpoints)
    gc_tuning.tune()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = Database(settings.database, pool_size=16, application="holdfast-worker")
    try:
        telemetry = runtime(settings)
        client = await connect(settings, telemetry)
        async with AsyncExitStack() as stack:
            work = build(settings, database)
            if queues.ORDERS in names:
                await schedules.ensure(client, settings)
            for name in names:
                await stack.enter_async_context(worker(settings, client, name, work[name], stack))
            jobs = (
                *_outbox(Context(settings, database, client), Metrics(telemetry.metric_meter), names),
                *_background(settings, database, client, names),
            )
            background = [asyncio.create_task(job) for job in jobs]
            log.info("worker_ready", queues=names)
            await _until_stopped(stop, background)
    finally:
        database.close()


async def _until_stopped(stop: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    """A relay or sweeper that fails ends the worker, so that its supervisor restarts everything."""
    stopped = asyncio.create_task(stop.wait())
    ended, _ = await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, *background):
        task.cancel()
    await asyncio.gather(stopped, *background, return_exceptions=True)
    for task in ended:
        task.result()


def _outbox(context: Context, metrics: Metrics, names: tuple[str, ...]) -> Iterator[Coroutine[Any, Any, None]]:
    """Yields a relay for each consumer that a worker of these queues runs."""
    wake_ups = WakeUps(context.settings.listen_url)
    consumers = list(consumers_of(names))
    for consumer in consumers:
        handlers = file_of(consumer).handlers(context)
        yield Relay(consumer, handlers, context.database, wake_ups.of(consumer), metrics).run()
    if consumers:
        yield wake_ups.run()
    if queues.ORDERS in names:
        yield Monitor(context.database, metrics).run()


def _background(
    settings: Settings, database: Database, client: Client, names: tuple[str, ...]
) -> Iterator[Coroutine[Any, Any, None]]:
    if queues.ORDERS in names:
        yield Rounds("orphans", Sweeper(settings, database, client).round, database).run()
        yield Rounds("retention", Retention(database).round, database).run()


def runtime(settings: Settings) -> Runtime:
    """The SDK's runtime, which serves its metrics and ours."""
    address = f"127.0.0.1:{settings.worker_metrics_port}"
    return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=address)))


async def connect(settings: Settings, telemetry: Runtime) -> Client:
    """Connects; retries until the server is reachable, so a worker may start before it."""
    while True:
        try:
            return await temporal.connect(settings, runtime=telemetry)
        except RuntimeError as error:
            log.warning("temporal_unreachable", address=settings.temporal, error=str(error))
            await asyncio.sleep(1)


def worker(settings: Settings, client: Client, queue: str, work: Work, stack: AsyncExitStack) -> Worker:
    """The worker of one queue.

    The SDK's sandbox detects non-deterministic workflow code, at nearly half of a worker's CPU. So only tests run
    inside it; the import contracts check it too.
    """
    builds = deployment(settings, work.builds)
    executor = stack.enter_context(ThreadPoolExecutor(work.slots, thread_name_prefix=queue))
    return Worker(
        client,
        task_queue=queue,
        workflows=work.workflows,
        activities=work.activities,
        activity_executor=executor,
        interceptors=[Failpoints()] if settings.failpoints else [],
        workflow_runner=SandboxedWorkflowRunner() if settings.env is Environment.TEST else UnsandboxedWorkflowRunner(),
        max_concurrent_activities=work.slots,
        max_concurrent_local_activities=work.slots,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(initial=2),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(initial=1),
        # After a worker dies, its executions move to another one after this; the default is ten seconds.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=timedelta(seconds=5),
        # By default the SDK hashes the source of every imported module: one to two seconds of CPU at each start.
        build_id=None if builds else UNVERSIONED,
        deployment_config=builds,
    )


def deployment(settings: Settings, builds: VersioningBehavior) -> WorkerDeploymentConfig | None:
    """None without a build id: a versioned worker gets no tasks until its build is made the current one.

    The versioning behaviour is set per queue: a workflow that declares its own can't run on an unversioned worker.
    """
    if not settings.worker_build_id:
        return None
    version = WorkerDeploymentVersion(settings.worker_deployment, settings.worker_build_id)
    return WorkerDeploymentConfig(version=version, use_worker_versioning=True, default_versioning_behavior=builds)
