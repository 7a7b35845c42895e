"""What the outbox tells of tasks that a person has resolved, and of disputes that our books have to follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from temporalio.client import Client

from models.attention import Outcome, TaskResolved
from models.db.repositories import disputes, tasks
from models.db.repositories.outbox import Message
from models.db.session import Database
from workflows.client import signal


class Attention:
    """Each listener knows a repeat."""

    def __init__(self, database: Database, client: Client) -> None:
        self._database = database
        self._client = client
        self.listeners: Mapping[str, Callable[[Message], Awaitable[None]]] = {
            tasks.RESOLVED: self.tell_resolution,
            disputes.CHANGED: self.settle_dispute,
        }

    async def tell_resolution(self, message: Message) -> None:
        """To the process that waits for it; one that was terminated meanwhile finds it when it begins anew."""
        word = TaskResolved(outcome=Outcome(message.data["outcome"]), task_id=message.data["task_id"])
        await signal(self._client, message.data["workflow_id"], "resolve_task", word)

    async def settle_dispute(self, message: Message) -> None:
        """Raises Unavailable while the capture that it is about is not in our books."""
        await asyncio.to_thread(self._settle, message.data["provider"], message.data["reference"])

    def _settle(self, provider: str, reference: str) -> None:
        with self._database.transaction() as connection:
            disputes.settle(connection, provider, reference)
