"""Tells what the outbox holds about accounts, beside the orders' relay and in nobody's way but its own.

Each listener is one step that may be repeated: a crash after it, and before its message is gone, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.gateways.secrets import Vault
from models.accounts import Link, LinkPurpose, LinkState
from models.db.repositories import account_requests, links, notices, order_notices, outbox, payment_retry
from models.db.repositories.account_requests import Opening
from models.db.repositories.outbox import Message
from models.db.session import Database
from models.ids import link_workflow
from models.order_notices import OrderNotice
from models.search_attributes import LINK_STATE, USER_ID
from models.settings import Settings
from workers.registry import account_mails, order_mails, payment_texts
from workers.relay import ACCOUNTS, BATCH, TASK_TIMEOUT, Relay
from workflows import queues
from workflows.email_verification import EmailVerification
from workflows.invitation import Invitation
from workflows.password_reset import PasswordReset

T = TypeVar("T")

log = structlog.get_logger()

THREADS = 4  # of its own: a mail that takes seconds must not hold up the other relay's reads

STORIES: dict[LinkPurpose, tuple[Any, str]] = {
    LinkPurpose.EMAIL_VERIFICATION: (EmailVerification.run, "Verification of an e-mail address"),
    LinkPurpose.PASSWORD_RESET: (PasswordReset.run, "Reset of a password"),
    LinkPurpose.INVITATION: (Invitation.run, "Invitation to the staff"),
}


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
        link = Link.model_validate(message.data)
        run, summary = STORIES[link.purpose]
        try:
            await self._client.start_workflow(
                run,
                link,
                id=link_workflow(link.purpose, link.user_id, link.number),
                task_queue=queues.NOTIFICATIONS,
                task_timeout=TASK_TIMEOUT,
                request_eager_start=not self._settings.worker_build_id,  # see workers/relay.py
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(SearchAttributeKey.for_keyword(USER_ID), link.user_id),
                        SearchAttributePair(SearchAttributeKey.for_keyword(LINK_STATE), LinkState.LIVE),
                    ]
                ),
                static_summary=summary,
            )
        except WorkflowAlreadyStartedError:
            return  # told before

    async def end_story(self, message: Message) -> None:
        """Of a link that was used or replaced."""
        handle = self._client.get_workflow_handle(message.data["workflow_id"])
        try:
            await handle.signal("ended", LinkState(message.data["how"]))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended: nothing left to tell
                raise

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
