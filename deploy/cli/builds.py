"""Rolls builds of the workers forward, ramps them, and takes them back, through Temporal's worker deployments.

The server decides which build an execution runs on (https://docs.temporal.io/worker-versioning).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentInfo, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus as Status
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from deploy.errors import StackError
from runtime.settings import Settings
from workflows.client import connect

T = TypeVar("T")

AT_ONCE = 16
SETTLE_SECONDS = 1.0  # visibility lags behind the routing
QUIET_POLLS = 3
PATIENCE_SECONDS = 10.0
NOT_YET = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
MOVES_ON = 'TemporalWorkflowVersioningBehavior = "AutoUpgrade"'
STAYS = 'TemporalWorkflowVersioningBehavior = "Pinned"'
STATUS_TEXT = {
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: "current",
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: "ramping",
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: "draining",
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: "drained",
}


@dataclass(frozen=True)
class Build:
    """`status`: current, ramping 20 %, draining, drained or inactive; `pinned`: executions that only this build can
    finish.
    """

    id: str
    status: str
    pinned: int


def format_table(builds: list[Build]) -> str:
    """A table for the terminal."""
    return "\n".join(
        [f"{'build':<24} {'status':<14} pinned", *(f"{b.id:<24} {b.status:<14} {b.pinned}" for b in builds)]
    )


class Builds:
    """The builds of one deployment."""

    def __init__(self, client: Client, deployment: str) -> None:
        self._client = client
        self._deployment = deployment

    async def status(self) -> list[Build]:
        """Newest first. Raises StackError when no versioned worker has ever polled."""
        info = await self._describe()
        summaries = sorted(info.version_summaries, key=lambda each: each.create_time.ToNanoseconds(), reverse=True)
        return [
            Build(
                id=(build := summary.deployment_version.build_id),
                status=STATUS_TEXT.get(summary.status, "inactive")
                + (
                    f" {info.routing_config.ramping_version_percentage:g} %"
                    if summary.status == Status.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING
                    else ""
                ),
                pinned=(await self._client.count_workflows(f"{self._on(build)} AND {STAYS}")).count,
            )
            for summary in summaries
        ]

    async def make_current(self, build: str) -> None:
        """Routes new executions, and those that move with the builds, to that build.

        The server refuses unless workers of that build poll every queue that the build before it serves.
        """
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace, deployment_name=self._deployment, build_id=build
        )
        await _patiently(lambda: self._client.workflow_service.set_worker_deployment_current_version(request))

    async def ramp(self, build: str, percent: float) -> None:
        """Routes that percentage of them to that build; an execution keeps its side while the percentage grows. 0 ends
        it.
        """
        request = SetWorkerDeploymentRampingVersionRequest(
            namespace=self._client.namespace,
            deployment_name=self._deployment,
            build_id=build if percent else "",
            percentage=percent,
        )
        await _patiently(lambda: self._client.workflow_service.set_worker_deployment_ramping_version(request))

    async def roll_back(self, build: str) -> int:
        """Makes an older build current; executions that ran on newer ones are pinned there. Returns how many.

        An older build can't replay what a newer one has recorded (above all a patch), so executions that move with the
        builds are pinned where they are. Visibility lags: one missed between the first search and the switch fails a
        task on the older build, harmlessly, until a later search finds it.
        """
        info = await self._describe()
        others = [each.deployment_version.build_id for each in info.version_summaries]
        newer = [other for other in others if other != build]
        held = await self._hold(newer)
        ramping = info.routing_config.ramping_deployment_version.build_id
        if ramping and ramping != build:
            await self.ramp(ramping, 0)
        await self.make_current(build)
        quiet = 0
        while quiet < QUIET_POLLS:
            await asyncio.sleep(SETTLE_SECONDS)
            found = await self._hold(newer)
            held += found
            quiet = 0 if found else quiet + 1
        return held

    async def release(self, build: str) -> int:
        """Removes those pins, so that the executions move with the builds again. Returns how many."""
        return await self._override(f"{self._on(build)} AND {STAYS}", None)

    async def _describe(self) -> WorkerDeploymentInfo:
        found = await self._client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=self._deployment)
        )
        return found.worker_deployment_info

    def _on(self, build: str) -> str:
        return f'TemporalWorkerDeploymentVersion = "{self._deployment}:{build}" AND ExecutionStatus = "Running"'

    async def _hold(self, builds: list[str]) -> int:
        """Pins each execution to the build that it ran on last."""
        return sum([await self._override(f"{self._on(build)} AND {MOVES_ON}", self._pin(build)) for build in builds])

    def _pin(self, build: str) -> VersioningOverride:
        return VersioningOverride(
            pinned=VersioningOverride.PinnedOverride(
                behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED,
                version=WorkerDeploymentVersion(deployment_name=self._deployment, build_id=build),
            )
        )

    async def _override(self, query: str, override: VersioningOverride | None) -> int:
        """Sets the override on all executions that match the query; None removes it. Returns how many still ran."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(workflow_id: str, run_id: str) -> bool:
            request = UpdateWorkflowExecutionOptionsRequest(
                namespace=self._client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                workflow_execution_options=WorkflowExecutionOptions(versioning_override=override),
                update_mask=FieldMask(paths=["versioning_override"]),
            )
            async with slots:
                try:
                    await self._client.workflow_service.update_workflow_execution_options(request)
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended meanwhile
                        raise
                    return False
            return True

        found = [(each.id, each.run_id) async for each in self._client.list_workflows(query)]
        return sum(await asyncio.gather(*(one(*each) for each in found)))


async def _patiently(call: Callable[[], Awaitable[object]]) -> None:
    """Retries while workers that have just begun to poll are not yet known to their deployment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await call()
            return
        except RPCError as error:
            if error.status not in NOT_YET or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


def ask(settings: Settings, question: Callable[[Builds], Awaitable[T]]) -> T:
    """The server's answer. Raises StackError with its message."""

    async def run() -> T:
        client = await connect(settings)
        return await question(Builds(client, settings.worker_deployment))

    try:
        return asyncio.run(run())
    except RPCError as error:
        raise StackError(f"Temporal says: {error.message}", "see `holdfast deploy status`") from None
    except RuntimeError as error:  # no connection
        raise StackError(f"Temporal does not answer at {settings.temporal}", str(error).splitlines()[0]) from None
