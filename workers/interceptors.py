"""Failpoints around every activity, for the crash tests."""

from __future__ import annotations

from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from runtime.failpoints import failpoint


class Failpoints(Interceptor):
    """`<activity>:before` and `<activity>:after` of every activity, local ones included.

    After: between the activity's return and the server's record of it.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002  the SDK's name
        return _ActivityFailpoints(next)


class _ActivityFailpoints(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002  the SDK's name
        name = activity.info().activity_type
        failpoint(f"{name}:before")
        result = await self.next.execute_activity(input)
        failpoint(f"{name}:after")
        return result
