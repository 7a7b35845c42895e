"""Compensations: run in reverse order, shielded from cancellation, retried for days.

A compensation that keeps failing opens a manual task and waits for its outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.delivery.tasks import Tasks
    from models.delivery.tasks import CloseTask, OpenTask, TaskOpened, TaskOutcome, TaskResolved
    from workflows.options import DATABASE

T = TypeVar("T")
Undo = Callable[[], Awaitable[object]]


class Compensations:
    """Push the undo before its action. `subject` is the business id that a manual task names."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._undos: list[tuple[str, Undo]] = []
        self._awaited: list[str] = []  # ids of the tasks that the workflow waits for
        self._resolutions: list[TaskResolved] = []

    def push(self, kind: str, undo: Undo) -> None:
        """`kind` is that of the manual task which opens if this undo keeps failing."""
        self._undos.append((kind, undo))

    def drop(self) -> None:
        """Removes the last undo: its action had no effect."""
        if self._undos:
            self._undos.pop()

    async def unwind(self) -> None:
        """Runs every undo, the last first. A cancelled workflow still finishes them, manual tasks included."""
        unwinding = asyncio.ensure_future(self._unwind())
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(unwinding)
        await unwinding

    async def _unwind(self) -> None:
        while self._undos:
            kind, undo = self._undos[-1]
            await self.retry_until_resolved(kind, undo)
            self._undos.pop()

    async def retry_until_resolved(self, kind: str, do: Callable[[], Awaitable[T]]) -> T | None:
        """Returns the result of `do`, run again after each outcome `retry`; None after the outcome `done`."""
        while True:
            try:
                return await do()
            except FailureError as error:
                if await self.escalate(kind, str(error.cause or error)) is TaskOutcome.DONE:
                    return None

    async def escalate(self, kind: str, detail: str) -> TaskOutcome:
        """Opens a manual task and waits for its outcome: resolved by the API, or by a signal from the Temporal UI."""
        task: TaskOpened = await workflow.execute_local_activity_method(
            Tasks.escalate_failure,
            OpenTask(kind=kind, subject=self._subject, detail=detail, resumes=True),
            summary=f"open manual task: {kind}",
            **DATABASE,
        )
        if task.outcome is not None:
            return task.outcome
        workflow.set_current_details(f"Waiting for a person: {kind} ({detail}). Signal resolve_task, retry or done")
        self._awaited.append(task.task_id)
        await workflow.wait_condition(lambda: self._resolution_of(task.task_id) is not None)
        resolution = self._resolution_of(task.task_id)
        assert resolution is not None
        self._awaited.remove(task.task_id)
        self._resolutions.remove(resolution)
        return await workflow.execute_local_activity_method(
            Tasks.close_task,
            CloseTask(task_id=task.task_id, outcome=resolution.outcome),
            summary=f"resolved manually: {resolution.outcome}",
            **DATABASE,
        )

    def resolve(self, resolution: TaskResolved) -> None:
        """Accepts an outcome. One without a task id is for the task that the workflow waits for."""
        if resolution.task_id or self._awaited:
            self._resolutions.append(resolution)

    def _resolution_of(self, task_id: str) -> TaskResolved | None:
        return next((resolution for resolution in self._resolutions if resolution.task_id in ("", task_id)), None)


class CompensatingWorkflow:
    """Base of every workflow that has Compensations (tests/workflows/test_tasks.py): receives outcomes."""

    _undo: Compensations

    @workflow.signal
    def resolve_task(self, resolution: TaskResolved) -> None:
        """`{"outcome": "retry"}` runs the failed step again; `{"outcome": "done"}` skips it as done manually."""
        self._undo.resolve(resolution)
