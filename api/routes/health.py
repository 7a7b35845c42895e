"""Health checks: alive, ready (each dependency by name), and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from api.services import Services, Shop
from models.errors import Unavailable
from workflows import queues

router = APIRouter(tags=["health"])

PATIENCE_SECONDS = 2.0
# A live worker has polled within its long poll of a minute.
POLLER_SECONDS = 70.0


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/ready")
async def ready(shop: Shop) -> JSONResponse:
    """503 only when checkout can't work: no database, no Temporal, or no worker."""
    checks = {
        "postgresql": (_database, True),
        "temporal": (_temporal, True),
        "workers": (_workers, True),
        "redis": (_redis, False),
    }
    found = await asyncio.gather(*(_check(check, shop) for check, _ in checks.values()))
    dependencies = {
        name: {**state, "required": required}
        for (name, (_, required)), state in zip(checks.items(), found, strict=True)
    }
    ok = all(state["status"] == "ok" for state in dependencies.values() if state["required"])
    body = {"status": "ok" if ok else "unavailable", "dependencies": dependencies}
    return JSONResponse(body, status_code=200 if ok else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics() -> Response:
    """Prometheus's text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _check(check: Callable[[Services], Awaitable[None]], shop: Services) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        await asyncio.wait_for(check(shop), PATIENCE_SECONDS)
        status = "ok"
    except Exception:  # noqa: BLE001  whatever is wrong with a dependency, the answer is its state
        status = "down"
    return {"status": status, "latency_ms": round((time.perf_counter() - began) * 1000, 1)}


async def _database(shop: Services) -> None:
    await run_in_threadpool(shop.database.ping)


async def _temporal(shop: Services) -> None:
    if not await shop.processes.client.service_client.check_health():
        raise Unavailable()


async def _workers(shop: Services) -> None:
    answer = await shop.processes.client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=shop.settings.temporal_namespace,
            task_queue=TaskQueue(name=queues.CHECKOUT),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    seen = max((poller.last_access_time.seconds for poller in answer.pollers), default=0)
    if time.time() - seen > POLLER_SECONDS:
        raise Unavailable("No worker has asked for work")


async def _redis(shop: Services) -> None:
    await run_in_threadpool(shop.cache.ping)
