"""Tells what the outbox holds about accounts, beside the orders' relay and in nobody's way but its own.

Each listener is one step that may be repeated: a crash after it, and before its message is gone, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from temporalio.client import Client

from activities.gateways.secrets import Vault
from models.accounts import Link, LinkState
from models.db.repositories import account_requests, links, notices, order_notices, outbox, payment_retry
from models.db.repositories.account_requests import Opening
from models.db.repositories.outbox import Message
from models.db.session import Database
from models.order_notices import OrderNotice
from models.settings import Settings
from workers.registry import account_mails, order_mails, payment_texts
from workers.relay import ACCOUNTS, BATCH, Relay
from workflows import starts
from workflows.client import signal, start

T = TypeVar("T")

log = structlog.get_logger()

THREADS = 4  # of its own: a mail that takes seconds must not hold up the other relay's reads


class AccountRelay(Relay):
    def __init__(self, settings: Settings, database: Database, client: Client) -> None:
        super().__init__(settings, database, client)
        self._mails = account_mails(settings, database)
        self._order_mails = order_mails(settings, database)
        self._payment_texts = payment_texts(settings, database)
        self._opening = Opening(
            digest=Vault.of(settings).link_digest,
            verification_seconds=settings.email_verification_seconds,
            reset_seconds=settings.password_reset_seconds,
            mails_per_hour=settings.account_mails_per_hour,
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="accounts")
        self._listeners = {
            account_requests.TOPIC: self.open_request,
            links.OPENED: self.start_story,
            links.ENDED: self.end_story,
            notices.TOPIC: self.send_notice,
            order_notices.TOPIC: self.send_order_notice,
            payment_retry.TEXT: self.send_payment_text,
        }

    async def open_request(self, message: Message) -> None:
        """What somebody asked for, decided now that nobody waits to see how long that takes."""
        await self._in_thread(lambda: self._open(message.data["request_id"]))

    async def start_story(self, message: Message) -> None:
        """Of a new link."""
        await start(self._client, starts.mailed_link(self._settings, Link.model_validate(message.data)))

    async def end_story(self, message: Message) -> None:
        """Of a link that was used or replaced."""
        await signal(self._client, message.data["workflow_id"], "ended", LinkState(message.data["how"]))

    async def send_notice(self, message: Message) -> None:
        await self._in_thread(lambda: self._mails.send_notice(message.data["notice_id"]))

    async def send_order_notice(self, message: Message) -> None:
        data = message.data
        kind = OrderNotice(data["kind"])
        await self._in_thread(lambda: self._order_mails.send_notice(data["order_id"], kind, data["subject"]))

    async def send_payment_text(self, message: Message) -> None:
        data = message.data
        await self._in_thread(lambda: self._payment_texts.send(data["order_id"], data["subject"]))

    def _open(self, request_id: str) -> None:
        with self._database.transaction() as connection:
            account_requests.open_request(connection, request_id, self._opening)

    def _pending(self) -> list[Message]:
        with self._database.reading() as connection:
            return outbox.pending(connection, BATCH, kinds=ACCOUNTS)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
