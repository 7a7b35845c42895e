"""No execution ends in the workflow task that accepted an update, or the caller could lose the response.

The server discards a task that ends its execution when another event (most often a signal) has arrived since the task
began. The updates that the task accepted are discarded too: their callers get FAILED_PRECONDITION, although the
activities have run. An update whose acceptance is in the history is answered by the task that ends the execution.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Concatenate, Final, ParamSpec, TypeVar

from temporalio import workflow

NEXT_TASK: Final = timedelta(milliseconds=1)


class AcceptsUpdates:
    """Base of every workflow that has updates."""

    _accepted_at = 0  # the length of the history in the task that accepted the last update

    async def _updates_recorded(self) -> None:
        """Waits until all handlers have finished and all acceptances are in the history.

        Call it before every end of the execution, `continue_as_new` included.
        """
        await workflow.wait_condition(workflow.all_handlers_finished)
        while self._accepted_at == workflow.info().get_current_history_length():
            await workflow.sleep(NEXT_TASK, summary="record the updates")
            await workflow.wait_condition(workflow.all_handlers_finished)


Flow = TypeVar("Flow", bound=AcceptsUpdates)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def recorded(
    handler: Callable[Concatenate[Flow, Parameters], Awaitable[Result]],
) -> Callable[Concatenate[Flow, Parameters], Awaitable[Result]]:
    """Goes under every `@workflow.update` (tests/workflows/test_updates.py): remembers the accepting task."""

    async def handle(self: Flow, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        self._accepted_at = workflow.info().get_current_history_length()
        return await handler(self, *args, **kwargs)

    functools.update_wrapper(handle, handler)  # the SDK reads the handler's name and types
    return handle
