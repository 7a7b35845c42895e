"""Undo in reverse, shielded and for days; what can't be undone becomes a task for a person, never a log line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.tasks import Tasks
    from models.checkout import OpenTask
    from workflows.options import DATABASE

Undo = Callable[[], Awaitable[object]]


class Compensations:
    """Push the undo before the do. `subject` is the business id that a task for a person names."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._undos: list[tuple[str, Undo]] = []

    def push(self, kind: str, undo: Undo) -> None:
        """`kind` names the task that a person gets if this undo never succeeds."""
        self._undos.append((kind, undo))

    def drop(self) -> None:
        """What was pushed last turned out to have no effect to undo."""
        if self._undos:
            self._undos.pop()

    async def unwind(self) -> None:
        """Runs every undo, the last first; a cancelled workflow still finishes them."""
        await asyncio.shield(self._unwind())

    async def _unwind(self) -> None:
        while self._undos:
            kind, undo = self._undos.pop()
            try:
                await undo()
            except FailureError as error:
                await workflow.execute_local_activity_method(
                    Tasks.open_task,
                    OpenTask(kind=kind, subject=self._subject, detail=str(error.cause or error)),
                    **DATABASE,
                )
