"""The consumer `notifications`: sends mails and text messages, idempotently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from models import topics
from models.topics import AccountNotification, OrderNotification, TextMessage
from workers.outbox.consumers import Context
from workers.outbox.relay import Handlers, on
from workers.registry import account_mails, order_mails, payment_texts
from workflows import queues

QUEUE = queues.NOTIFICATIONS
THREADS = 4  # of its own: a mail that takes seconds delays no other consumer


def handlers(context: Context) -> Handlers:
    notifications = Notifications(context)
    return dict(
        [
            on(topics.ACCOUNT_NOTIFICATION_REQUESTED, notifications.send_account_mail),
            on(topics.ORDER_NOTIFICATION_REQUESTED, notifications.send_order_mail),
            on(topics.TEXT_MESSAGE_REQUESTED, notifications.send_text_message),
        ]
    )


class Notifications:
    def __init__(self, context: Context) -> None:
        self._account_mails = account_mails(context.settings, context.database)
        self._order_mails = order_mails(context.settings, context.database)
        self._text_messages = payment_texts(context.settings, context.database)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="notifications")

    async def send_account_mail(self, event: AccountNotification) -> None:
        await self._in_thread(lambda: self._account_mails.send_notice(event.notice_id))

    async def send_order_mail(self, event: OrderNotification) -> None:
        await self._in_thread(lambda: self._order_mails.send_notice(event.order_id, event.kind, event.subject))

    async def send_text_message(self, event: TextMessage) -> None:
        await self._in_thread(lambda: self._text_messages.send(event.order_id, event.subject))

    async def _in_thread(self, send: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, send)
