"""Undo in reverse, shielded and for days; what can't be undone waits for a person, whose word lets it go on."""

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
    """Push the undo before the do. `subject` is the business id that a task for a person names."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._undos: list[tuple[str, Undo]] = []
        self._awaited: list[str] = []  # ids of the tasks that are waited for
        self._resolutions: list[TaskResolved] = []

    def push(self, kind: str, undo: Undo) -> None:
        """`kind` names the task that a person gets if this undo never succeeds."""
        self._undos.append((kind, undo))

    def drop(self) -> None:
        """What was pushed last turned out to have no effect to undo."""
        if self._undos:
            self._undos.pop()

    async def unwind(self) -> None:
        """Runs every undo, the last first; a cancelled workflow still finishes them, also while a person is asked."""
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
        """What it gives, however often a person says `retry`; None once a person says that it is done."""
        while True:
            try:
                return await do()
            except FailureError as error:
                if await self.escalate(kind, str(error.cause or error)) is TaskOutcome.DONE:
                    return None

    async def escalate(self, kind: str, detail: str) -> TaskOutcome:
        """Opens a task and waits for its outcome, by the queue's own route or typed in the Temporal UI."""
        task: TaskOpened = await workflow.execute_local_activity_method(
            Tasks.escalate_failure,
            OpenTask(kind=kind, subject=self._subject, detail=detail, resumes=True),
            summary=f"for a person: {kind}",
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
            summary=f"a person says {resolution.outcome}",
            **DATABASE,
        )

    def resolve(self, resolution: TaskResolved) -> None:
        """A person's word; one that names no task is for what is waited for now."""
        if resolution.task_id or self._awaited:
            self._resolutions.append(resolution)

    def _resolution_of(self, task_id: str) -> TaskResolved | None:
        return next((resolution for resolution in self._resolutions if resolution.task_id in ("", task_id)), None)


class CompensatingWorkflow:
    """Of every workflow that has Compensations (tests/workflows/test_tasks.py): lets a person's word in."""

    _undo: Compensations

    @workflow.signal
    def resolve_task(self, resolution: TaskResolved) -> None:
        """`{"outcome": "retry"}` tries again what a person was asked about, `{"outcome": "done"}` takes it as done."""
        self._undo.resolve(resolution)
