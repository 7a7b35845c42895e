"""Tells what the outbox holds, in order per aggregate, at least once; every listener knows a repeat.

It asks ten times a second rather than LISTEN: a NOTIFY would serialise the commits of all checkouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from opentelemetry import context, propagate
from temporalio.client import Client
from temporalio.service import RPCError

from models.db.repositories import order_commands, outbox, payment_method_saving, payment_methods, refunds, returns
from models.db.repositories.outbox import Message
from models.db.session import Database
from models.errors import Unavailable
from models.ids import (
    checkout_workflow,
    order_workflow,
    return_workflow,
    save_payment_method_workflow,
)
from models.refunds import FoundRefund, RefundRef
from models.settings import Settings
from models.states import RefundStatus
from workers.attention import Attention
from workers.parcels import ParcelNews
from workers.payment_news import PaymentNews
from workflows import starts
from workflows.checkout import Checkout
from workflows.client import signal, start
from workflows.order import Order
from workflows.refund import Refund
from workflows.return_ import Return
from workflows.save_payment_method import SavePaymentMethod
from workflows.starts import Start

BATCH = 100
AT_ONCE = 8
IDLE_SECONDS = 0.1

FAILURES = (Unavailable, RPCError, RuntimeError, OSError)  # the SDK says RuntimeError for "no connection"

log = structlog.get_logger()

Tell = Callable[[Message], Awaitable[None]]


# Whose topics have a relay of their own (workers/account_relay.py): a mail provider's bad hour is not the orders'.
ACCOUNTS = ("account", "link", "notice")


class Relay:
    """One round at a time; `run` goes on until cancelled."""

    def __init__(self, settings: Settings, database: Database, client: Client) -> None:
        self._settings = settings
        self._database = database
        self._client = client
        self._listeners: Mapping[str, Tell] = {
            "order.confirmed": self._start_order,
            "payment.changed": self._tell_checkout,
            "order.delivered": self._tell_order,
            order_commands.CHANGED: self._tell_order,
            payment_method_saving.CHANGED: self._tell_setup,
            payment_methods.REMOVED: self._start_removal,
            **Attention(database, client).listeners,
            **PaymentNews(settings, client, cancelled=self._tell_order).listeners,
            **ParcelNews(settings, database, client).listeners,
            refunds.REQUESTED: self._start_refund,
            refunds.CHANGED: self._tell_refund,
            refunds.FOUND: self._tell_refund,
            returns.REQUESTED: self._start_return,
            returns.CHANGED: self._tell_return,
        }

    async def run(self) -> None:
        while True:
            try:
                told = await self.round()
            except Unavailable:
                log.warning("outbox_unreachable")
                told = 0
            if told < BATCH:
                await asyncio.sleep(IDLE_SECONDS)

    async def round(self) -> int:
        """Tells one batch; returns how many were told."""
        messages = await asyncio.to_thread(self._pending)
        if not messages:
            return 0
        slots = asyncio.Semaphore(AT_ONCE)
        by_aggregate: dict[str, list[Message]] = {}
        for message in messages:
            by_aggregate.setdefault(message.aggregate, []).append(message)
        outcomes = await asyncio.gather(*(self._tell_in_order(run, slots) for run in by_aggregate.values()))
        told = [message.id for done, _ in outcomes for message in done]
        failed = [failure.id for _, failure in outcomes if failure is not None]
        await asyncio.to_thread(self._record, told, failed)
        return len(told)

    def _pending(self) -> list[Message]:
        with self._database.reading() as connection:
            return outbox.pending(connection, BATCH, besides=ACCOUNTS)

    def _record(self, told: list[int], failed: list[int]) -> None:
        with self._database.reading() as connection:
            if told:
                outbox.told(connection, told)
            if failed:
                outbox.postpone(connection, failed)

    async def _tell_in_order(
        self, messages: list[Message], slots: asyncio.Semaphore
    ) -> tuple[list[Message], Message | None]:
        """What was told, and the one that failed; those behind it wait."""
        done: list[Message] = []
        async with slots:
            for message, following in zip(messages, [*messages[1:], None], strict=True):
                if not message.due:
                    return done, None
                if following is not None and following.due and message.says_what(following):
                    done.append(message)  # a storm of webhooks about one payment is one look at it
                    continue
                try:
                    await self._tell(message)
                except FAILURES as error:
                    log.warning("outbox_message_failed", id=message.id, topic=message.topic, error=str(error))
                    return done, message
                done.append(message)
        return done, None

    async def _tell(self, message: Message) -> None:
        listener = self._listeners.get(message.topic)
        if listener is None:
            log.error("outbox_topic_unknown", topic=message.topic)
            return
        token = context.attach(propagate.extract(message.trace or {}))
        try:
            await listener(message)
        except FAILURES:
            raise
        except Exception as error:  # one message that can't be read must not end the worker that all others are in
            log.exception("outbox_message_broken", id=message.id, topic=message.topic)
            raise Unavailable() from error
        finally:
            context.detach(token)

    async def _start_order(self, message: Message) -> None:
        resumed = message.data.get("resumed", False)
        await start(self._client, starts.order(self._settings, message.data["order_id"], resumed=resumed))

    async def _tell_checkout(self, message: Message) -> None:
        await signal(self._client, checkout_workflow(message.data["checkout_id"]), Checkout.payment_changed)

    async def _tell_order(self, message: Message) -> None:
        await signal(self._client, order_workflow(message.data["order_id"]), Order.changed)

    async def _start_refund(self, message: Message) -> None:
        """Begun anew it finds what has been done, so a repeat does no harm."""
        await start(self._client, self._refund(message))

    async def _tell_refund(self, message: Message) -> None:
        """Also of one whose process has ended: a bank may send money back, and people make refunds by hand."""
        await start(self._client, self._refund(message), signal=Refund.changed)

    def _refund(self, message: Message) -> Start[Refund, RefundRef, RefundStatus | None]:
        found = FoundRefund.model_validate(message.data) if message.topic == refunds.FOUND else None
        return starts.refund(message.data["order_id"], message.data["refund_id"], found)

    async def _start_return(self, message: Message) -> None:
        await start(self._client, starts.return_(message.data["order_id"], message.data["return_id"]))

    async def _tell_return(self, message: Message) -> None:
        await signal(self._client, return_workflow(message.data["return_id"]), Return.changed)

    async def _tell_setup(self, message: Message) -> None:
        workflow_id = save_payment_method_workflow(message.data["payment_method_id"])
        await signal(self._client, workflow_id, SavePaymentMethod.setup_changed)

    async def _start_removal(self, message: Message) -> None:
        await start(self._client, starts.remove_payment_method(message.data["payment_method_id"]))
