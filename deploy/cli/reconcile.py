"""`holdfast reconcile`: triggers the reconciliation schedule now."""

from __future__ import annotations

import asyncio

from temporalio.service import RPCError

from deploy.errors import StackError
from runtime.settings import Settings
from workers.schedules import reconcile_now
from workflows.client import connect


def trigger(settings: Settings) -> str:
    """Returns the text to print."""

    async def run() -> None:
        await reconcile_now(await connect(settings))

    try:
        asyncio.run(run())
    except (RPCError, RuntimeError) as error:
        raise StackError("no reconciliation could be begun: is a worker running?", str(error)) from error
    return "Reconciliation is triggered: GET /v1/ops/reconciliations shows its run."
