"""What the outbox tells of payments that failed after their order was placed: their processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from temporalio.client import Client

from models.db.repositories import order_commands, payment_retry
from models.db.repositories.outbox import Message
from models.ids import payment_retry_workflow
from models.settings import Settings
from workflows import starts
from workflows.client import signal, start
from workflows.payment_retry import PaymentRetry

Listener = Callable[[Message], Awaitable[None]]


class PaymentNews:
    """Every listener knows a repeat. `cancelled`: what else hears of a cancelled order."""

    def __init__(self, settings: Settings, client: Client, *, cancelled: Listener) -> None:
        self._settings = settings
        self._client = client
        self._cancelled = cancelled

    @property
    def listeners(self) -> Mapping[str, Listener]:
        return {
            payment_retry.FAILED: self.start,
            payment_retry.CHANGED: self.tell,
            order_commands.CANCELLED: self.order_cancelled,
        }

    async def start(self, message: Message) -> None:
        """The signal also keeps one that is just ending."""
        process = starts.payment_retry(self._settings, message.data["order_id"])
        await start(self._client, process, signal=PaymentRetry.changed)

    async def tell(self, message: Message) -> None:
        await signal(self._client, payment_retry_workflow(message.data["order_id"]), PaymentRetry.changed)

    async def order_cancelled(self, message: Message) -> None:
        await self._cancelled(message)
        await self.tell(message)
